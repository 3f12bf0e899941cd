/** A long text of which the server sent the beginning: says how much there is, and gets the rest. The page above says from where. */
import { createContext, useContext, useState } from 'react';

import { formatBytes, formatCountExact } from '../lib/format';
import './cut.css';
import { WholeText } from './WholeText';

export type Cut = { readonly path: string; readonly bytes: number | null; readonly items: number | null; readonly head: string };

export type WholeValues = {
  /** `onBytes` hears how many have come. */
  readonly read: (path: string, onBytes: (bytes: number) => void) => Promise<string>;
  readonly download: (path: string) => Promise<void>;
};

const Whole = createContext<WholeValues | null>(null);

export const WholeValuesProvider = Whole.Provider;

/** `{"$cut":{…}}`, as the span endpoint writes it; `null` for anything else. */
export function readCut(value: unknown): Cut | null {
  const cut = isRecord(value) && Object.keys(value).length === 1 ? value['$cut'] : undefined;
  if (!isRecord(cut) || typeof cut['path'] !== 'string') return null;
  const { path, bytes, items, head } = cut;
  return {
    path,
    bytes: typeof bytes === 'number' ? bytes : null,
    items: typeof items === 'number' ? items : null,
    head: typeof head === 'string' ? head : '',
  };
}

/** Everything that was cut in a value. */
export function findCuts(value: unknown, found: Cut[] = []): Cut[] {
  const cut = readCut(value);
  if (cut) found.push(cut);
  else if (typeof value === 'object' && value !== null) for (const inner of Object.values(value)) findCuts(inner, found);
  return found;
}

/** Its full size in words. */
export function sizeOf(cut: Cut): string {
  return cut.bytes === null ? `${formatCountExact(cut.items)} items` : formatBytes(cut.bytes);
}

/** Where it stands in the span, without the leading slash. */
export function nameOf(cut: Cut): string {
  return cut.path.slice(1);
}

const byteLength = (text: string): number => new TextEncoder().encode(text).length;

/** The beginning as `children` draw it, and on request the whole, of which only what is in sight is in the page. */
export function CutText({ cut, children }: { cut: Cut; children: (text: string) => React.ReactNode }) {
  const whole = useContext(Whole);
  const [state, setState] = useState<
    { kind: 'cut' } | { kind: 'loading'; bytes: number } | { kind: 'whole'; text: string } | { kind: 'failed'; why: string }
  >({ kind: 'cut' });
  const run = (act: () => Promise<void>) => {
    setState({ kind: 'loading', bytes: 0 });
    act().catch((error: unknown) => {
      setState({ kind: 'failed', why: error instanceof Error ? error.message : String(error) });
    });
  };
  if (state.kind === 'whole') return <WholeText text={state.text} label={`${nameOf(cut)}, whole`} bytes={cut.bytes} />;
  return (
    <span className="cut">
      {children(cut.head)}
      <span className="cut__bar">
        <span className="cut__size">
          {cut.bytes === null
            ? `${sizeOf(cut)} in all`
            : `shown: the first ${formatBytes(byteLength(cut.head))} of ${sizeOf(cut)}`}
        </span>
        {whole && (
          <>
            {cut.bytes !== null && (
              <button
                type="button"
                disabled={state.kind === 'loading'}
                onClick={() => {
                  run(async () => {
                    const text = await whole.read(cut.path, (bytes) => {
                      setState({ kind: 'loading', bytes });
                    });
                    setState({ kind: 'whole', text });
                  });
                }}
              >
                Show all
              </button>
            )}
            <button
              type="button"
              disabled={state.kind === 'loading'}
              onClick={() => {
                run(async () => {
                  await whole.download(cut.path);
                  setState({ kind: 'cut' });
                });
              }}
            >
              Download
            </button>
          </>
        )}
        {state.kind === 'loading' && <span role="status">reading{state.bytes > 0 && ` ${formatBytes(state.bytes)}`}</span>}
        {state.kind === 'failed' && <span role="alert">{state.why}</span>}
      </span>
    </span>
  );
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
