/** Durations, money, token counts and states as every page shows them: short in place, exact on hover. */
import {
  formatAgo,
  formatCount,
  formatCountExact,
  formatDuration,
  formatFullTime,
  formatListTime,
  formatMoney,
  formatMoneyExact,
  heat,
  UNKNOWN,
  type Femto,
} from '../lib/format';
import { useClock } from '../lib/clock';
import { Icon } from './Icon';
import './values.css';

export function Duration({ ns, max = 0 }: { ns: number | null; max?: number }) {
  const exact = ns === null ? undefined : `${formatCountExact(ns)} ns`;
  return (
    <span className={`num heat-${heat(ns, max)}`} title={exact}>
      {formatDuration(ns)}
    </span>
  );
}

/** Money; `unpriced` calls are named, because a dash alone would hide that something is missing from the sum. */
export function Money({ usd, unpriced = 0 }: { usd: string | Femto | null; unpriced?: number }) {
  const missing = unpriced > 0 ? `${unpriced} call${unpriced === 1 ? '' : 's'} without a price` : null;
  const exact = usd === null ? 'cost unknown' : `${formatMoneyExact(usd)} US dollars`;
  return (
    <span className={usd === null ? 'num faint' : 'num money'} title={missing ? `${exact}; ${missing}` : exact}>
      {formatMoney(usd)}
      {missing && usd !== null && <span aria-label={missing}>+?</span>}
    </span>
  );
}

export function Count({ value }: { value: number | null }) {
  return (
    <span className={value === null ? 'num faint' : 'num'} title={value === null ? 'unknown' : formatCountExact(value)}>
      {formatCount(value)}
    </span>
  );
}

/** A moment as the person wants it, in full on hover. */
export function TimeCell({ iso, now }: { iso: string | null; now: number }) {
  const { style } = useClock();
  if (iso === null) return <span className="faint">{UNKNOWN}</span>;
  return (
    <time dateTime={iso} title={formatFullTime(iso)} className="time-cell num faint">
      {style === 'ago' ? formatAgo(Date.parse(iso), now) : formatListTime(iso, now)}
    </time>
  );
}

/** A part of a whole, in percent. */
export function Share({ part, whole }: { part: number | null; whole: number | null }) {
  if (part === null || whole === null || whole === 0) return <span className="faint">{UNKNOWN}</span>;
  const percent = (100 * part) / whole;
  return (
    <span className={part === 0 ? 'num faint' : 'num'} title={`${formatCountExact(part)} of ${formatCountExact(whole)}`}>
      {percent === 0 || percent >= 10 ? Math.round(percent) : percent.toFixed(1)} %
    </span>
  );
}

/** Tokens in and out, in one cell. */
export function TokenPair({ input, output }: { input: number | null; output: number | null }) {
  if (input === null && output === null) return <span className="faint">{UNKNOWN}</span>;
  const title = `${input === null ? 'unknown' : formatCountExact(input)} input, ${output === null ? 'unknown' : formatCountExact(output)} output tokens`;
  return (
    <span className="num" title={title}>
      {formatCount(input)}
      <span className="faint"> → </span>
      {formatCount(output)}
    </span>
  );
}

/** Never by colour alone: an error has its own shape and word. */
export function StatusMark({ status, errors = 0 }: { status: string; errors?: number }) {
  if (status === 'ERROR' || errors > 0) {
    const said = status === 'ERROR' ? 'error' : `${errors} error${errors === 1 ? '' : 's'} within`;
    return (
      <span
        className={`status-mark ${status === 'ERROR' ? 'status-mark--error' : 'status-mark--inner'}`}
        title={said}
        role="img"
        aria-label={said}
      >
        <Icon name={status === 'ERROR' ? 'error' : 'warning'} size={14} />
      </span>
    );
  }
  return (
    <span
      className="status-mark"
      title={status === 'OK' ? 'ok' : 'no status'}
      role="img"
      aria-label={status === 'OK' ? 'ok' : 'no status'}
    >
      <span className="status-mark__dot" />
    </span>
  );
}

export function Tag({
  children,
  tone = 'plain',
  title,
}: {
  children: React.ReactNode;
  tone?: 'plain' | 'error' | 'warning';
  title?: string;
}) {
  return (
    <span className={`tag tag--${tone}`} title={title}>
      {children}
    </span>
  );
}
