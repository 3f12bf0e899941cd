/**
 * How durations, money, tokens and times read on every page. Pure; money stays decimal text and exact integers, never a float.
 */
import { fieldsOf, zoneName } from './clock';

/** What stands where nothing is known. Unknown is not zero, so it must not look like a number. */
export const UNKNOWN = '–';

const NS_PER_US = 1e3;
const NS_PER_MS = 1e6;
const NS_PER_S = 1e9;

/** A duration with three significant digits and its unit: `850 ns`, `12.3 ms`, `1.24 s`, `2 m 05 s`, `1 h 02 m`. */
export function formatDuration(ns: number | null | undefined): string {
  if (ns === null || ns === undefined || !Number.isFinite(ns)) return UNKNOWN;
  if (ns < 0) return `−${formatDuration(-ns)}`;
  if (ns < NS_PER_US) return `${Math.round(ns)} ns`;
  if (ns < NS_PER_MS) return `${threeDigits(ns / NS_PER_US)} µs`;
  if (ns < NS_PER_S * 0.9995) return `${threeDigits(ns / NS_PER_MS)} ms`;
  if (ns < 60 * NS_PER_S * 0.9995) return `${threeDigits(ns / NS_PER_S)} s`;
  const seconds = Math.round(ns / NS_PER_S);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${pad2(seconds % 60)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${pad2(minutes % 60)} m`;
  return `${Math.floor(minutes / 1440)} d ${pad2(Math.floor(minutes / 60) % 24)} h`;
}

function threeDigits(value: number): string {
  if (value >= 99.95) return String(Math.round(value));
  if (value >= 9.995) return value.toFixed(1);
  return value.toFixed(2);
}

function pad2(value: number): string {
  return String(value).padStart(2, '0');
}

/** US dollars in units of 10⁻¹⁵, the scale of the `cost_usd` columns. */
export type Femto = bigint;

const MONEY_SCALE = 15;

/** Parses decimal text such as `0.000123`; `null` if it is not a decimal number or says nothing. */
export function parseMoney(text: string | null | undefined): Femto | null {
  if (text === null || text === undefined) return null;
  const match = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text.trim());
  if (!match) return null;
  const fraction = (match[3] ?? '').padEnd(MONEY_SCALE, '0').slice(0, MONEY_SCALE);
  const value = BigInt((match[2] ?? '0') + fraction);
  return match[1] ? -value : value;
}

/** The sum of what is known; `null` if nothing is known. */
export function addMoney(a: Femto | null, b: Femto | null): Femto | null {
  if (a === null) return b;
  return b === null ? a : a + b;
}

/** Decimal text without trailing zeros, all digits: `0.000123`. */
export function moneyDigits(value: Femto): string {
  const negative = value < 0n;
  const digits = (negative ? -value : value).toString().padStart(MONEY_SCALE + 1, '0');
  const whole = digits.slice(0, -MONEY_SCALE);
  const fraction = digits.slice(-MONEY_SCALE).replace(/0+$/, '');
  return `${negative ? '−' : ''}${whole}${fraction ? `.${fraction}` : ''}`;
}

/** Money for a table cell: cents from one dollar up, three significant digits below, two below a tenth of a cent. `$0` is a cost of zero, `–` an unknown one. */
export function formatMoney(money: string | Femto | null | undefined): string {
  const value = typeof money === 'bigint' ? money : parseMoney(money);
  if (value === null) return UNKNOWN;
  if (value === 0n) return '$0';
  const negative = value < 0n;
  const absolute = negative ? -value : value;
  const sign = negative ? '−' : '';
  const one = 10n ** BigInt(MONEY_SCALE);
  if (absolute >= one) return `${sign}$${group(roundTo(absolute, 2))}`;
  const leadingZeros = MONEY_SCALE - absolute.toString().length;
  const digits = leadingZeros < 3 ? 3 : 2;
  return `${sign}$${roundTo(absolute, Math.min(MONEY_SCALE, leadingZeros + digits))}`;
}

/** Money to the last digit, for tooltips and the cost table. */
export function formatMoneyExact(money: string | Femto | null | undefined): string {
  const value = typeof money === 'bigint' ? money : parseMoney(money);
  return value === null ? UNKNOWN : `$${moneyDigits(value)}`;
}

function roundTo(value: Femto, decimals: number): string {
  const unit = 10n ** BigInt(MONEY_SCALE - decimals);
  const rounded = (value + unit / 2n) / unit;
  const digits = rounded.toString().padStart(decimals + 1, '0');
  return decimals === 0 ? digits : `${digits.slice(0, -decimals)}.${digits.slice(-decimals)}`;
}

function group(decimal: string): string {
  const [whole = '', fraction] = decimal.split('.');
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ',');
  return fraction === undefined ? grouped : `${grouped}.${fraction}`;
}

/** A count of tokens or rows in a narrow cell: `950`, `1.2k`, `34k`, `1.25M`. */
export function formatCount(count: number | null | undefined): string {
  if (count === null || count === undefined) return UNKNOWN;
  if (Math.abs(count) < 1000) return String(count);
  if (Math.abs(count) < 9950) return `${(count / 1e3).toFixed(1)}k`;
  if (Math.abs(count) < 999_500) return `${Math.round(count / 1e3)}k`;
  if (Math.abs(count) < 999_500_000) return `${threeDigits(count / 1e6)}M`;
  return `${threeDigits(count / 1e9)}B`;
}

/** Every digit, grouped: `1,234,567`. */
export function formatCountExact(count: number | null | undefined): string {
  return count === null || count === undefined ? UNKNOWN : count.toLocaleString('en-US');
}

/** `1 span`, `2 spans`. */
export function plural(count: number, noun: string): string {
  return `${formatCountExact(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/** `512 B`, `1.50 KB`, `12.0 MB`. */
export function formatBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  const units = ['KB', 'MB', 'GB', 'TB'];
  let value = bytes / 1024;
  let unit = 0;
  while (value >= 1023.5 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${threeDigits(value)} ${units[unit] ?? ''}`;
}

/** How long ago: `now`, `2 s ago`, `5 min ago`, `3 h ago`, `12 d ago`. */
export function formatAgo(thenMs: number, nowMs: number): string {
  const seconds = Math.max(0, Math.round((nowMs - thenMs) / 1000));
  if (seconds < 1) return 'now';
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

/** A moment for a list, in the chosen zone: `14:05:03.120` today, `21 Nov 14:05:03` before, with the year if it is another one. */
export function formatListTime(iso: string, nowMs: number): string {
  const then = new Date(iso);
  if (Number.isNaN(then.getTime())) return UNKNOWN;
  const at = fieldsOf(then);
  const now = fieldsOf(new Date(nowMs));
  const time = `${pad2(at.hour)}:${pad2(at.minute)}:${pad2(at.second)}`;
  if (at.day === now.day && at.month === now.month && at.year === now.year) return `${time}.${String(at.ms).padStart(3, '0')}`;
  const day = `${at.day} ${MONTHS[at.month] ?? ''}`;
  return at.year === now.year ? `${day} ${time}` : `${day} ${at.year} ${time.slice(0, 5)}`;
}

/** A moment to the millisecond with its zone, for headers and tooltips: `21 Nov 2026 14:05:03.120 UTC+1`. */
export function formatFullTime(iso: string): string {
  const then = new Date(iso);
  if (Number.isNaN(then.getTime())) return UNKNOWN;
  const at = fieldsOf(then);
  const time = `${pad2(at.hour)}:${pad2(at.minute)}:${pad2(at.second)}.${String(at.ms).padStart(3, '0')}`;
  return `${at.day} ${MONTHS[at.month] ?? ''} ${at.year} ${time} ${zoneName(then)}`;
}

/** Heat of a value within its list: 0 (cold) to 4 (hot), by share of the largest. Square root, so that the middle is visible. */
export function heat(value: number | null, max: number): 0 | 1 | 2 | 3 | 4 {
  if (value === null || value <= 0 || max <= 0) return 0;
  const share = Math.sqrt(Math.min(1, value / max));
  if (share > 0.8) return 4;
  if (share > 0.55) return 3;
  if (share > 0.3) return 2;
  return share > 0.12 ? 1 : 0;
}
