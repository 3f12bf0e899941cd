/**
 * How times read: in the zone of this computer, in UTC or in that of whoever sent the link, as a moment or as how long ago. What a person
 * chooses is kept in this browser and stands in the address, so that a link shows what its sender saw; what a link wants holds while its page is
 * open and is not kept. The zone of this computer is left out of the address bar; `permalink` names it, because it is another one elsewhere.
 */
import { useSyncExternalStore } from 'react';

/** `local`, `utc`, or a name of the tz database such as `Europe/Berlin`. */
export type Zone = string;
export type TimeStyle = 'moment' | 'ago';
export type Clock = { readonly zone: Zone; readonly style: TimeStyle };

const KEY = 'assay.clock';
const listeners = new Set<() => void>();
let current: Clock = stored();

function stored(): Clock {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(KEY) ?? 'null');
    const kept = typeof value === 'object' && value !== null ? value : {};
    return {
      zone: 'zone' in kept && kept.zone === 'utc' ? 'utc' : 'local',
      style: 'style' in kept && kept.style === 'ago' ? 'ago' : 'moment',
      ...clockOf(Object.fromEntries(new URLSearchParams(window.location.search))),
    };
  } catch {
    return { zone: 'local', style: 'moment' };
  }
}

/** The part of an address that says how times read; the common way is left out. */
export type ClockSearch = { zone?: string; times?: string };

export function clockSearch({ zone, style }: Clock): ClockSearch {
  return { ...(zone === 'local' ? {} : { zone }), ...(style === 'moment' ? {} : { times: style }) };
}

/** What an address says of it; nothing for what it leaves out. */
export function clockOf({ zone, times }: ClockSearch): Partial<Clock> {
  return {
    ...(zone === 'utc' || zone === 'local' || (zone !== undefined && isZoneName(zone)) ? { zone } : {}),
    ...(times === 'ago' || times === 'moment' ? { style: times } : {}),
  };
}

/** Whether the browser knows a zone of this name. */
function isZoneName(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en-US', { timeZone: name }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
}

/** An address of this application as it is given to others: whole, and with the zone that its times are read in. */
export function permalink(href: string): string {
  const url = new URL(href, window.location.href);
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const zone = current.zone === 'local' ? own : current.zone;
  if (!url.searchParams.has('zone')) url.searchParams.set('zone', zone === 'UTC' ? 'utc' : zone);
  return url.href;
}

export function clock(): Clock {
  return current;
}

/** As a link wants it, for as long as this page is open. */
export function showClock(change: Partial<Clock>): void {
  const next = { ...current, ...change };
  if (next.zone === current.zone && next.style === current.style) return;
  current = next;
  for (const listener of listeners) listener();
}

/** As the person wants it from now on. */
export function setClock(change: Partial<Clock>): void {
  current = { ...current, ...change };
  try {
    localStorage.setItem(KEY, JSON.stringify(current));
  } catch {
    // Storage is forbidden: the choice holds until reload.
  }
  for (const listener of listeners) listener();
}

/** The clock, and a new drawing when it changes. */
export function useClock(): Clock {
  return useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, clock);
}

export type Fields = {
  readonly year: number;
  /** From 0. */
  readonly month: number;
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
  readonly ms: number;
};

/** A moment in the chosen zone. */
export function fieldsOf(at: Date): Fields {
  if (current.zone !== 'local') {
    const shifted = new Date(at.getTime() + offsetMs(at.getTime()));
    return {
      year: shifted.getUTCFullYear(),
      month: shifted.getUTCMonth(),
      day: shifted.getUTCDate(),
      hour: shifted.getUTCHours(),
      minute: shifted.getUTCMinutes(),
      second: shifted.getUTCSeconds(),
      ms: shifted.getUTCMilliseconds(),
    };
  }
  return {
    year: at.getFullYear(),
    month: at.getMonth(),
    day: at.getDate(),
    hour: at.getHours(),
    minute: at.getMinutes(),
    second: at.getSeconds(),
    ms: at.getMilliseconds(),
  };
}

/** The moment at which clocks of the chosen zone show this, in milliseconds since 1970; a day of 32 is the first of the next month. */
export function momentOf({ year, month, day, hour, minute, second, ms }: Fields): number {
  if (current.zone === 'local') return new Date(year, month, day, hour, minute, second, ms).getTime();
  const asUtc = Date.UTC(year, month, day, hour, minute, second, ms);
  // The offset belongs to the moment, which is known only with it: the second time it is right on either side of a change of clocks.
  return asUtc - offsetMs(asUtc - offsetMs(asUtc));
}

/** A date whose own fields are those of the chosen zone, for what knows only the zone of the browser. */
export function wallDate(ms: number): Date {
  const { year, month, day, hour, minute, second, ms: rest } = fieldsOf(new Date(ms));
  return new Date(year, month, day, hour, minute, second, rest);
}

/** `UTC`, `UTC+2`, `UTC−3:30`. */
export function zoneName(at: Date): string {
  const minutes = current.zone === 'local' ? -at.getTimezoneOffset() : Math.round(offsetMs(at.getTime()) / 60_000);
  if (minutes === 0) return 'UTC';
  const hours = Math.trunc(Math.abs(minutes) / 60);
  const rest = Math.abs(minutes) % 60;
  return `UTC${minutes < 0 ? '−' : '+'}${hours}${rest ? `:${String(rest).padStart(2, '0')}` : ''}`;
}

/** How far clocks of the chosen zone, which is not the local one, are ahead of UTC. */
function offsetMs(at: number): number {
  if (current.zone === 'utc' || Number.isNaN(at)) return 0;
  const part = Object.fromEntries(
    writerOf(current.zone)
      .formatToParts(at)
      .map(({ type, value }) => [type, Number(value)]),
  );
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = part;
  return Date.UTC(year, month - 1, day, hour, minute, second) - Math.floor(at / 1000) * 1000;
}

let writer: { zone: Zone; format: Intl.DateTimeFormat } | null = null;

/** Writes numbers of a date in a zone; making one is slow, so the last is kept. */
function writerOf(zone: Zone): Intl.DateTimeFormat {
  if (writer?.zone !== zone) {
    const digits = { year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: 'numeric', second: 'numeric' } as const; // prettier-ignore
    writer = { zone, format: new Intl.DateTimeFormat('en-US', { ...digits, timeZone: zone, hourCycle: 'h23' }) };
  }
  return writer.format;
}
