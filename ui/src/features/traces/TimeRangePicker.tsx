/** Presets and free-form time: "25m", "3d", "2026-11-20 10:00 to 12:00". */
import { Popover } from 'radix-ui';
import { useState, type SyntheticEvent } from 'react';

import { Button } from '../../components/Button';
import { Icon } from '../../components/Icon';
import '../../components/menu.css';
import { describeRange, parseRange, PRESETS, type TimeRange } from '../../lib/time';
import './time-range.css';

export function TimeRangePicker({ range, onChange }: { range: TimeRange; onChange: (range: TimeRange) => void }) {
  const [open, setOpen] = useState(false);
  const [text, setText] = useState('');
  const [refused, setRefused] = useState(false);
  const choose = (next: TimeRange) => {
    onChange(next);
    setOpen(false);
    setText('');
    setRefused(false);
  };
  const submit = (event: SyntheticEvent) => {
    event.preventDefault();
    const parsed = parseRange(text, Date.now());
    if (parsed) choose(parsed);
    else setRefused(true);
  };
  return (
    <Popover.Root open={open} onOpenChange={setOpen}>
      <Popover.Trigger className="button button--plain time-range" aria-label={`Time range: ${describeRange(range)}`}>
        <Icon name="clock" size={14} />
        <span className="truncate">{describeRange(range)}</span>
        <Icon name="chevron-down" size={12} />
      </Popover.Trigger>
      <Popover.Portal>
        <Popover.Content className="popover time-range__panel" align="start" sideOffset={6} aria-label="Time range">
          <form onSubmit={submit}>
            <label className="time-range__label" htmlFor="time-range-text">
              Any range
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
              {refused ? `“${text}” is not a range. ` : ''}A duration back from now, a day, or two moments: 2026-11-20 10:00 to
              12:00
            </p>
          </form>
          <div className="time-range__presets">
            {PRESETS.map((preset) => (
              <button
                key={preset.label}
                type="button"
                className="menu__item"
                aria-current={preset.range.from === range.from && preset.range.to === range.to}
                onClick={() => {
                  choose(preset.range);
                }}
              >
                {preset.label}
                {preset.range.from === range.from && preset.range.to === range.to && (
                  <span className="menu__check">
                    <Icon name="check" size={14} />
                  </span>
                )}
              </button>
            ))}
          </div>
        </Popover.Content>
      </Popover.Portal>
    </Popover.Root>
  );
}
