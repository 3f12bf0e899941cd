/** JSON as a tree that opens on click. Only what is open is in the page, long arrays and texts open in parts, so size does not matter. */
import { useState } from 'react';

import { formatBytes, formatCountExact } from '../lib/format';
import { CutText, readCut } from './Cut';
import { Icon } from './Icon';
import './json-view.css';
import { WholeText } from './WholeText';

const CHILDREN_AT_ONCE = 100;
const TEXT_AT_ONCE = 2_000;
/** Longer texts are not put into the page whole. */
const TEXT_INLINE_MAX = 20_000;

type Props = { value: unknown; name?: string; /** Levels that are open at first. */ openDepth?: number };

export function JsonView({ value, openDepth = 2 }: Props) {
  return (
    <div className="json">
      <Node value={value} openDepth={openDepth} />
    </div>
  );
}

function Node({ value, name, openDepth = 0 }: Props) {
  if (typeof value !== 'object' || value === null) {
    return (
      <div className="json__line">
        <Key name={name} />
        <Scalar value={value} />
      </div>
    );
  }
  const cut = readCut(value);
  if (cut) {
    return (
      <div className="json__line">
        <Key name={name} />
        <CutText cut={cut}>{(text) => (text === '' ? null : <LongText text={text} quoted />)}</CutText>
      </div>
    );
  }
  return <Branch value={value} openDepth={openDepth} {...(name === undefined ? {} : { name })} />;
}

function Branch({ value, name, openDepth }: { value: object; name?: string; openDepth: number }) {
  const entries = Object.entries(value);
  const [open, setOpen] = useState(openDepth > 0 && entries.length <= CHILDREN_AT_ONCE);
  const [shown, setShown] = useState(CHILDREN_AT_ONCE);
  const isList = Array.isArray(value);
  const [left, right] = isList ? ['[', ']'] : ['{', '}'];
  if (entries.length === 0) {
    return (
      <div className="json__line">
        <Key name={name} />
        <span className="json__mark">{left + right}</span>
      </div>
    );
  }
  return (
    <div>
      <button
        type="button"
        className="json__line json__toggle"
        aria-expanded={open}
        onClick={() => {
          setOpen(!open);
        }}
      >
        <Icon name={open ? 'chevron-down' : 'chevron-right'} size={12} />
        <Key name={name} />
        <span className="json__mark">
          {left}
          {!open && ` ${formatCountExact(entries.length)} ${isList ? 'items' : 'keys'} ${right}`}
        </span>
      </button>
      {open && (
        <div className="json__children">
          {entries.slice(0, shown).map(([key, child]) => (
            <Node key={key} value={child} openDepth={openDepth - 1} {...(isList ? {} : { name: key })} />
          ))}
          {entries.length > shown && (
            <button
              type="button"
              className="json__more"
              onClick={() => {
                setShown(shown + 10 * CHILDREN_AT_ONCE);
              }}
            >
              {formatCountExact(entries.length - shown)} more
            </button>
          )}
        </div>
      )}
      {open && <div className="json__mark json__close">{right}</div>}
    </div>
  );
}

function Key({ name }: { name: string | undefined }) {
  if (name === undefined) return null;
  return (
    <>
      <span className="json__key">{name}</span>
      <span className="json__mark">: </span>
    </>
  );
}

function Scalar({ value }: { value: unknown }) {
  if (typeof value === 'string') return <LongText text={value} quoted />;
  if (value === null || value === undefined) return <span className="json__null">null</span>;
  return <span className="json__number">{typeof value === 'boolean' || typeof value === 'number' ? String(value) : ''}</span>;
}

/** A text of which the beginning is shown, with the size of the rest; a long one opens in a view that holds only what is in sight. */
export function LongText({ text, quoted = false }: { text: string; quoted?: boolean }) {
  const [open, setOpen] = useState(false);
  if (open && text.length > TEXT_INLINE_MAX) return <WholeText text={text} label="the whole text" />;
  const cut = text.length > TEXT_AT_ONCE && !open;
  const visible = cut ? text.slice(0, TEXT_AT_ONCE) : text;
  return (
    <span className={quoted ? 'json__string' : undefined}>
      {quoted ? JSON.stringify(visible).slice(0, cut ? -1 : undefined) : visible}
      {cut && (
        <button
          type="button"
          className="json__more"
          onClick={() => {
            setOpen(true);
          }}
        >
          … {formatBytes(text.length - TEXT_AT_ONCE)} more
        </button>
      )}
    </span>
  );
}
