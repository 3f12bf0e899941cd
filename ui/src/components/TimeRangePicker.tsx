/** Presets and free-form time ("25m", "3d", "2026-11-20 10:00 to 12:00"), one range back or forward, wider. */
import { Popover } from 'radix-ui';
import { useState, type SyntheticEvent } from 'react';

import { zoneName } from '../lib/clock';
import { describeRange, panned, parseRange, PRESETS, resolveBound, zoomedOut, type TimeRange } from '../lib/time';
import { formatFullTime } from '../lib/format';
import { Button, IconButton } from './Button';
import { Icon } from './Icon';
import './menu.css';
import './time-range.css';

type Props = { range: TimeRange; onChange: (range: TimeRange) => void };

export function TimeRangePicker({ range, onChange }: Props) {
  const [open, setOpen] = useState(false);
  const choose = (next: TimeRange) => {
    onChange(next);
    setOpen(false);
  };
  return (
    <Popover.Root open={open} onOpenChange={setOpen}>
      <Popover.Trigger className="button button--plain time-range" aria-label={`Time range: ${describeRange(range)}`}>
        <Icon name="clock" size={14} />
        <span className="truncate">{describeRange(range)}</span>
        <Icon name="chevron-down" size={12} />
      </Popover.Trigger>
      <Popover.Portal>
        <Popover.Content
          className="popover time-range__panel"
          align="start"
          sideOffset={6}
          collisionPadding={8}
          aria-label="Time range"
        >
          <AnyRange onChoose={choose} />
          <Steps range={range} onChange={onChange} />
          <div className="time-range__presets">
            {PRESETS.map((preset) => {
              const current = preset.range.from === range.from && preset.range.to === range.to;
              return (
                <button
                  key={preset.label}
                  type="button"
                  className="menu__item"
                  aria-current={current}
                  onClick={() => {
                    choose(preset.range);
                  }}
                >
                  {preset.label}
                  {current && (
                    <span className="menu__check">
                      <Icon name="check" size={14} />
                    </span>
                  )}
                </button>
              );
            })}
          </div>
        </Popover.Content>
      </Popover.Portal>
    </Popover.Root>
  );
}

function AnyRange({ onChoose }: { onChoose: (range: TimeRange) => void }) {
  const [text, setText] = useState('');
  const [refused, setRefused] = useState(false);
  const meant = text === '' ? null : parseRange(text, Date.now());
  const submit = (event: SyntheticEvent) => {
    event.preventDefault();
    if (meant) onChoose(meant);
    else setRefused(true);
  };
  return (
    <form onSubmit={submit}>
      <label className="time-range__label" htmlFor="time-range-text">
        Any range, in {zoneName(new Date())}
      </label>
      <div className="time-range__line">
        <input
          id="time-range-text"
          className="field"
          value={text}
          placeholder="25m, 3d, yesterday …"
          autoComplete="off"
          aria-invalid={refused}
          aria-describedby="time-range-help"
          onChange={(event) => {
            setText(event.target.value);
            setRefused(false);
          }}
        />
        <Button type="submit" look="primary">
          Apply
        </Button>
      </div>
      <p id="time-range-help" className={refused ? 'time-range__help time-range__help--refused' : 'time-range__help'}>
        {refused ? `“${text}” is not a range. ` : ''}
        {meant ? inWords(meant) : 'A duration back from now, a day, or two moments: 2026-11-20 10:00 to 12:00'}
      </p>
    </form>
  );
}

/** The two moments that a range comes to now. */
function inWords(range: TimeRange): string {
  const now = Date.now();
  const at = (bound: string) =>
    bound === 'now'
      ? 'now'
      : bound === 'all'
        ? 'the first span'
        : formatFullTime(new Date(resolveBound(bound, now) ?? now).toISOString());
  return `${at(range.from)} to ${at(range.to)}`;
}

function Steps({ range, onChange }: Props) {
  const now = Date.now();
  const steps = [
    { icon: 'arrow-left', label: 'One range earlier', to: panned(range, -1, now) },
    { icon: 'zoom-out', label: 'Three times as long', to: zoomedOut(range, now) },
    { icon: 'arrow-right', label: 'One range later', to: panned(range, 1, now) },
  ] as const;
  return (
    <div className="time-range__steps" role="group" aria-label="Move the range">
      {steps.map(({ icon, label, to }) => (
        <IconButton
          key={label}
          icon={icon}
          label={label}
          disabled={to === null}
          onClick={() => {
            if (to) onChange(to);
          }}
        />
      ))}
    </div>
  );
}
