/**
 * How times read: in the zone of this computer or in UTC, as a moment or as how long ago. What a person chooses is kept in this browser and
 * stands in the address, so that a link shows what its sender saw; what a link wants holds while its page is open and is not kept.
 */
import { useSyncExternalStore } from 'react';

export type Zone = 'local' | 'utc';
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
    ...(zone === 'utc' || zone === 'local' ? { zone } : {}),
    ...(times === 'ago' || times === 'moment' ? { style: times } : {}),
  };
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
  if (current.zone === 'utc') {
    return {
      year: at.getUTCFullYear(),
      month: at.getUTCMonth(),
      day: at.getUTCDate(),
      hour: at.getUTCHours(),
      minute: at.getUTCMinutes(),
      second: at.getUTCSeconds(),
      ms: at.getUTCMilliseconds(),
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
  return current.zone === 'utc'
    ? Date.UTC(year, month, day, hour, minute, second, ms)
    : new Date(year, month, day, hour, minute, second, ms).getTime();
}

/** `UTC`, `UTC+2`, `UTC−3:30`. */
export function zoneName(at: Date): string {
  const minutes = current.zone === 'utc' ? 0 : -at.getTimezoneOffset();
  if (minutes === 0) return 'UTC';
  const hours = Math.trunc(Math.abs(minutes) / 60);
  const rest = Math.abs(minutes) % 60;
  return `UTC${minutes < 0 ? '−' : '+'}${hours}${rest ? `:${String(rest).padStart(2, '0')}` : ''}`;
}
