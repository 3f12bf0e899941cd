/**
 * Time ranges: what a person types ("25m", "last 3 days", "2026-11-20 10:00 to 12:00"), what stands in the URL, and what the API takes.
 *
 * A bound is either relative (`now`, `now-25m`), `all` (a start only: the earliest span) or RFC 3339. Relative bounds stay relative in the URL, so that a link to "the last hour"
 * means the last hour of whoever opens it.
 */
import { fieldsOf, momentOf } from './clock';

export type TimeRange = { readonly from: string; readonly to: string };

export const DEFAULT_RANGE: TimeRange = { from: 'now-24h', to: 'now' };

/** From the earliest span on, whenever that was. */
export const ALL_TIME: TimeRange = { from: 'all', to: 'now' };

export const PRESETS: readonly { readonly label: string; readonly range: TimeRange }[] = [
  { label: 'Last 15 minutes', range: { from: 'now-15m', to: 'now' } },
  { label: 'Last hour', range: { from: 'now-1h', to: 'now' } },
  { label: 'Last 6 hours', range: { from: 'now-6h', to: 'now' } },
  { label: 'Last 24 hours', range: DEFAULT_RANGE },
  { label: 'Last 7 days', range: { from: 'now-7d', to: 'now' } },
  { label: 'Last 30 days', range: { from: 'now-30d', to: 'now' } },
  { label: 'All time', range: ALL_TIME },
];

const UNIT_MS: Record<string, number> = { s: 1e3, m: 6e4, h: 36e5, d: 864e5, w: 6048e5 };
const UNIT_WORDS: Record<string, string> = {
  s: 's', sec: 's', secs: 's', second: 's', seconds: 's',
  m: 'm', min: 'm', mins: 'm', minute: 'm', minutes: 'm',
  h: 'h', hr: 'h', hrs: 'h', hour: 'h', hours: 'h',
  d: 'd', day: 'd', days: 'd',
  w: 'w', week: 'w', weeks: 'w',
}; // prettier-ignore

/** The moment a bound names, in milliseconds since 1970; `null` if it is not a bound. */
export function resolveBound(bound: string, nowMs: number): number | null {
  if (bound === 'now') return nowMs;
  if (bound === 'all') return 0;
  const relative = /^(?:now)?-(\d+(?:\.\d+)?)([smhdw])$/.exec(bound);
  if (relative) return nowMs - Number(relative[1]) * (UNIT_MS[relative[2] ?? ''] ?? 0);
  if (!/^\d{4}-\d{2}-\d{2}T/.test(bound)) return null;
  const at = Date.parse(bound);
  return Number.isNaN(at) ? null : at;
}

/** Whether both bounds can be understood and are in order. */
export function isRange(range: TimeRange, nowMs: number): boolean {
  const from = resolveBound(range.from, nowMs);
  const to = resolveBound(range.to, nowMs);
  return from !== null && to !== null && from < to;
}

/**
 * A range as people write it: `25m`, `3d`, `1.5h`, `last 2 hours`, `today`, `yesterday`, `all`, one date, or two moments joined by
 * `to`, `..` or `–`. Dates without a zone are in the chosen one (lib/clock.ts). `null` if it is not understood.
 */
export function parseRange(text: string, nowMs: number): TimeRange | null {
  const input = text.trim().toLowerCase();
  if (input === '') return null;
  if (input === 'all' || input === 'all time') return ALL_TIME;
  const span = /^(?:last|past|-)?\s*(\d+(?:\.\d+)?)?\s*([a-z]+)$/.exec(input);
  const unit = span ? UNIT_WORDS[span[2] ?? ''] : undefined;
  if (span && unit && (span[1] !== undefined || /^(last|past)/.test(input))) {
    const amount = Number(span[1] ?? '1');
    return amount > 0 ? { from: `now-${amount}${unit}`, to: 'now' } : null;
  }
  if (input === 'today') return { from: iso(dayStart(nowMs, 0)), to: 'now' };
  if (input === 'yesterday') return { from: iso(dayStart(nowMs, -1)), to: iso(dayStart(nowMs, 0)) };
  return parseAbsolute(text.trim(), nowMs);
}

function parseAbsolute(text: string, nowMs: number): TimeRange | null {
  const [left, right, ...more] = text.split(/\s+(?:to|until|–|-)\s+|\s*\.\.\s*/i);
  if (left === undefined || more.length > 0) return null;
  const from = parseMoment(left, nowMs, null);
  if (!from) return null;
  if (right === undefined) {
    if (!from.dayOnly) return { from: iso(from.ms), to: 'now' };
    return { from: iso(from.ms), to: iso(dayStart(from.ms, 1)) };
  }
  if (right.trim().toLowerCase() === 'now') return { from: iso(from.ms), to: 'now' };
  const to = parseMoment(right, nowMs, from.ms);
  if (!to) return null;
  const end = to.dayOnly ? dayStart(to.ms, 1) : to.ms;
  return end > from.ms ? { from: iso(from.ms), to: iso(end) } : null;
}

/** One moment; a bare clock time takes the day of `sameDayAs`, or today. */
function parseMoment(text: string, nowMs: number, sameDayAs: number | null): { ms: number; dayOnly: boolean } | null {
  const input = text.trim();
  const clock = /^(\d{1,2}):(\d{2})(?::(\d{2}))?$/.exec(input);
  if (clock) {
    const day = fieldsOf(new Date(sameDayAs ?? nowMs));
    const time = { hour: Number(clock[1]), minute: Number(clock[2]), second: Number(clock[3] ?? 0), ms: 0 };
    return time.hour > 23 || time.minute > 59 ? null : { ms: momentOf({ ...day, ...time }), dayOnly: false };
  }
  const date = /^(\d{4})-(\d{1,2})-(\d{1,2})(?:[ t](\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d+))?)?\s*(z|[+-]\d{2}:?\d{2})?)?$/i.exec(
    input,
  );
  if (!date) return null;
  const [, year, month, day, hour, minute, second, fraction, zone] = date;
  const ms = fraction ? Number(`0.${fraction}`) * 1000 : 0;
  const parts = [
    Number(year),
    Number(month) - 1,
    Number(day),
    Number(hour ?? 0),
    Number(minute ?? 0),
    Number(second ?? 0),
  ] as const;
  if (parts[1] > 11 || parts[2] < 1 || parts[2] > 31 || parts[3] > 23 || parts[4] > 59) return null;
  if (zone === undefined) {
    const at = { year: parts[0], month: parts[1], day: parts[2], hour: parts[3], minute: parts[4], second: parts[5], ms };
    return { ms: momentOf(at), dayOnly: hour === undefined };
  }
  const offset = /^z$/i.test(zone)
    ? 0
    : (zone.startsWith('-') ? -1 : 1) * (Number(zone.slice(1, 3)) * 60 + Number(zone.slice(-2)));
  return { ms: Date.UTC(...parts, ms) - offset * 60_000, dayOnly: false };
}

/** The midnight before a moment, or that many days later. */
function dayStart(ms: number, days: number): number {
  const { year, month, day } = fieldsOf(new Date(ms));
  return momentOf({ year, month, day: day + days, hour: 0, minute: 0, second: 0, ms: 0 });
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}

/** A range between two moments, as dragged on a strip. */
export function absoluteRange(fromMs: number, toMs: number): TimeRange {
  return { from: iso(fromMs), to: iso(toMs) };
}

/** The same range as moments that no longer move: a link to it shows another person the same rows. All time keeps its open start. */
export function fixedRange(range: TimeRange, nowMs: number): TimeRange {
  const fixed = (bound: string) => (bound === ALL_TIME.from ? bound : iso(resolveBound(bound, nowMs) ?? nowMs));
  return { from: fixed(range.from), to: fixed(range.to) };
}

/** The range moved by its own width: −1 to what was before, 1 to what came after, but never beyond now. `null` for all time. */
export function panned(range: TimeRange, by: -1 | 1, nowMs: number): TimeRange | null {
  const bounds = spanOf(range, nowMs);
  if (!bounds) return null;
  const width = bounds.to - bounds.from;
  const to = Math.min(nowMs, bounds.to + by * width);
  return to === bounds.to && by === 1 ? null : absoluteRange(to - width, to);
}

/** Three times the width around the same middle, ending at now at the latest. `null` for all time. */
export function zoomedOut(range: TimeRange, nowMs: number): TimeRange | null {
  const bounds = spanOf(range, nowMs);
  if (!bounds) return null;
  const width = bounds.to - bounds.from;
  const to = Math.min(nowMs, bounds.to + width);
  return absoluteRange(to - 3 * width, to);
}

function spanOf(range: TimeRange, nowMs: number): { from: number; to: number } | null {
  const from = resolveBound(range.from, nowMs);
  const to = resolveBound(range.to, nowMs);
  return range.from === ALL_TIME.from || from === null || to === null ? null : { from, to };
}

/** The range in words, for the time button. */
export function describeRange(range: TimeRange): string {
  const preset = PRESETS.find((each) => each.range.from === range.from && each.range.to === range.to);
  if (preset) return preset.label;
  const relative = /^now-(\d+(?:\.\d+)?[smhdw])$/.exec(range.from);
  if (relative && range.to === 'now') return `Last ${relative[1] ?? ''}`;
  return `${describeBound(range.from)} – ${describeBound(range.to, range.from)}`;
}

function describeBound(bound: string, after?: string): string {
  const at = Date.parse(bound);
  if (bound.startsWith('now') || Number.isNaN(at)) return bound;
  const { year, month, day, hour, minute, second } = fieldsOf(new Date(at));
  const pad = (value: number) => String(value).padStart(2, '0');
  const time = `${pad(hour)}:${pad(minute)}${second === 0 ? '' : `:${pad(second)}`}`;
  const before = after === undefined ? null : fieldsOf(new Date(after));
  if (before?.year === year && before.month === month && before.day === day) return time;
  return `${year}-${pad(month + 1)}-${pad(day)} ${time}`;
}
