/** The trace as a conversation: turns in order, reasoning beside the tool calls it caused, agents within agents folded. */
import { useVirtualizer } from '@tanstack/react-virtual';
import { useQueries } from '@tanstack/react-query';
import { useEffect, useId, useMemo, useRef, type KeyboardEvent } from 'react';

import { Icon } from '../../components/Icon';
import { LongText } from '../../components/JsonView';
import { EmptyState, Skeleton } from '../../components/Notice';
import { Duration, Money, StatusMark, TokenPair } from '../../components/Values';
import { formatBytes, formatCountExact, plural } from '../../lib/format';
import { AnyValue, PartView } from './ContentTab';
import { decode } from './messages';
import { CONTENT_BATCH, contentsQuery } from './queries';
import { STEP_ICONS } from './SpanTree';
import './transcript.css';
import { readTurn, transcriptItems, type Content, type Item } from './transcript';
import { costAt, ERROR, has, idAt, kindAt, modelAt, numberAt, RUNNING, textAt, type TraceTree } from './tree';

const ITEM_PX = 120;
const INDENT_PX = 18;

type Props = {
  traceId: string;
  tree: TraceTree;
  collapsed: ReadonlySet<number>;
  /** Agents within agents that are unfolded here. */
  open: ReadonlySet<number>;
  selected: number;
  hits: ReadonlySet<number>;
  onSelect: (index: number) => void;
  onFolds: (open: ReadonlySet<number>, collapsed: ReadonlySet<number>) => void;
};

export function Transcript({ traceId, tree, collapsed, open, selected, hits, onSelect, onFolds }: Props) {
  const items = useMemo(() => transcriptItems(tree, open, collapsed, selected), [tree, open, collapsed, selected]);
  const scroller = useRef<HTMLDivElement>(null);
  const listId = useId();
  const virtual = useVirtualizer({
    count: items.length,
    getScrollElement: () => scroller.current,
    estimateSize: (index) => (items[index]?.kind === 'turn' ? ITEM_PX : 40),
    getItemKey: (index) => items[index]?.at ?? index,
    overscan: 4,
  });
  const inSight = virtual.getVirtualItems();
  const contents = useContents(traceId, tree, items, inSight.map((item) => item.index)); // prettier-ignore
  const current = items.findLastIndex((item) => item.at === selected || ('tools' in item && item.tools.includes(selected)));

  useEffect(() => {
    if (current >= 0) virtual.scrollToIndex(current, { align: 'auto' });
  }, [current, virtual]);

  const toggle = (item: Extract<Item, { kind: 'agent' }>) => {
    const next = new Set(open);
    if (item.open) next.delete(item.at);
    else next.add(item.at);
    // What the tree has folded opens in both.
    const unfolded = new Set(collapsed);
    onFolds(next, unfolded.delete(item.at) ? unfolded : collapsed);
  };
  const key = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const item = items[current];
    const moves: Record<string, number> = { ArrowDown: current + 1, j: current + 1, ArrowUp: current - 1, k: current - 1, Home: 0, End: items.length - 1 }; // prettier-ignore
    const move = moves[event.key];
    if (move !== undefined) {
      const next = items[Math.max(0, Math.min(items.length - 1, move))];
      if (next) onSelect(next.at);
    } else if (
      (event.key === 'ArrowRight' || event.key === 'ArrowLeft' || event.key === 'Enter') &&
      item?.kind === 'agent' &&
      item.folds
    )
      toggle(item); // prettier-ignore
    else return;
    event.preventDefault();
  };

  if (items.length === 0) {
    return (
      <EmptyState title="No model spoke in this trace">
        <p>The transcript shows calls of models, tools and agents. The tree shows every span.</p>
      </EmptyState>
    );
  }
  return (
    <div
      ref={scroller}
      className="transcript"
      role="tree"
      aria-label="Transcript"
      tabIndex={0}
      {...(current >= 0 ? { 'aria-activedescendant': `${listId}-${items[current]?.at}` } : {})}
      onKeyDown={key}
    >
      <div className="transcript__items" role="presentation" style={{ height: virtual.getTotalSize() }}>
        {inSight.map((place) => {
          const item = items[place.index];
          if (!item) return null;
          const isSelected = place.index === current;
          return (
            <div
              key={place.key}
              ref={virtual.measureElement}
              data-index={place.index}
              id={`${listId}-${item.at}`}
              role="treeitem"
              aria-selected={isSelected}
              aria-level={item.level + 1}
              {...(item.kind === 'agent' && item.folds ? { 'aria-expanded': item.open } : {})}
              aria-label={labelOf(tree, item)}
              className={`transcript__item ${hits.has(item.at) ? 'transcript__item--hit' : ''}`}
              style={{ transform: `translateY(${place.start}px)`, paddingLeft: 12 + item.level * INDENT_PX }}
              onClick={(event) => {
                // A link, a fold or chosen text keeps its own meaning.
                if (event.target instanceof Element && event.target.closest('a, button, summary') !== null) return;
                if (window.getSelection()?.isCollapsed === false) return;
                if (item.kind === 'agent' && item.folds) toggle(item);
                onSelect(item.at);
              }}
            >
              {item.kind === 'turn' ? (
                <TurnCard tree={tree} item={item} contents={contents} onSelect={onSelect} />
              ) : (
                <StepLine tree={tree} item={item} content={contents?.get(idAt(tree, item.at))} />
              )}
            </div>
          );
        })}
      </div>
    </div>
  );
}

function labelOf(tree: TraceTree, item: Item): string {
  const name = textAt(tree, 'name', item.at) ?? '';
  const failed = has(tree, item.at, ERROR) ? ', failed' : '';
  if (item.kind === 'turn')
    return `Turn: ${name}${item.tools.length > 0 ? `, ${plural(item.tools.length, 'tool run')}` : ''}${failed}`;
  if (item.kind === 'agent') return `Agent ${name}, ${plural(item.turns, 'turn')}${item.folds ? (item.open ? ', open' : ', folded') : ''}${failed}`; // prettier-ignore
  return `${name}${failed}`;
}

/** Contents of the spans in sight, in batches of neighbours so that scrolling asks seldom and each batch is asked once. */
function useContents(
  traceId: string,
  tree: TraceTree,
  items: readonly Item[],
  inSight: readonly number[],
): ReadonlyMap<string, Content> | null {
  const first = Math.floor((inSight[0] ?? 0) / CONTENT_BATCH);
  const last = Math.floor((inSight[inSight.length - 1] ?? -1) / CONTENT_BATCH);
  const batches = Array.from({ length: Math.max(0, last - first + 1) }, (_, at) => {
    const own = items.slice((first + at) * CONTENT_BATCH, (first + at + 1) * CONTENT_BATCH);
    return own
      .flatMap((item) => (item.kind === 'agent' ? [] : [item.at, ...('tools' in item ? item.tools : [])]))
      .map((place) => idAt(tree, place));
  });
  const answers = useQueries({ queries: batches.map((ids) => contentsQuery(traceId, ids)) });
  const known = answers.flatMap((answer) => (answer.data ? [answer.data] : []));
  return known.length === 0 ? null : new Map(known.flatMap((contents) => [...contents]));
}

function Figures({ tree, at }: { tree: TraceTree; at: number }) {
  const cost = costAt(tree, at);
  const [input, output] = [numberAt(tree, 'input_tokens', at), numberAt(tree, 'output_tokens', at)];
  return (
    <span className="transcript__figures">
      {has(tree, at, ERROR) && <StatusMark status="ERROR" />}
      {(input !== null || output !== null) && <TokenPair input={input} output={output} />}
      {cost !== null && <Money usd={cost} />}
      {has(tree, at, RUNNING) ? 'running' : <Duration ns={tree.durations[at] ?? null} />}
    </span>
  );
}

function Title({ tree, at, children }: { tree: TraceTree; at: number; children: React.ReactNode }) {
  const kind = kindAt(tree, at);
  return (
    <div className="transcript__title">
      <span style={{ color: `var(--op-${kind})` }}>
        <Icon name={STEP_ICONS[kind]} size={14} />
      </span>
      {children}
      <Figures tree={tree} at={at} />
    </div>
  );
}

type TurnProps = {
  tree: TraceTree;
  item: Extract<Item, { kind: 'turn' }>;
  contents: ReadonlyMap<string, Content> | null;
  onSelect: (index: number) => void;
};

function TurnCard({ tree, item, contents, onSelect }: TurnProps) {
  const content = contents?.get(idAt(tree, item.at));
  const turn = useMemo(
    () =>
      readTurn(
        content,
        item.tools.map((at) => ({
          at,
          callId: textAt(tree, 'tool_call_id', at),
          name: textAt(tree, 'tool_name', at) ?? textAt(tree, 'name', at),
          content: contents?.get(idAt(tree, at)),
        })),
      ),
    [tree, item, content, contents],
  );
  return (
    <article className="turn">
      {turn.asked.length > 0 && (
        <div className="turn__asked">
          <span className="turn__who">user</span>
          {turn.asked.map((part, index) => (
            <PartView key={index} part={part} />
          ))}
        </div>
      )}
      <Title tree={tree} at={item.at}>
        <strong className="truncate">{modelAt(tree, item.at) ?? textAt(tree, 'name', item.at)}</strong>
      </Title>
      {!contents && <Skeleton lines={2} label="loading the turn" />}
      {typeof content?.left_bytes === 'number' && content.left_bytes > 0 && (
        <p className="turn__left">
          Shown in part: {formatBytes(content.left_bytes)} of it are in{' '}
          <button
            type="button"
            className="turn__run"
            onClick={() => {
              onSelect(item.at);
            }}
          >
            the span
          </button>
          .
        </p>
      )}
      {contents &&
        turn.exchanges.map((exchange, index) => (
          <div
            key={index}
            className={`turn__exchange ${exchange.calls.length > 0 && exchange.said.length > 0 ? 'turn__exchange--calls' : ''}`}
          >
            <div className="turn__said">
              {exchange.said.length === 0 && exchange.calls.length === 0 && <p className="panel-none">no content was sent</p>}
              {exchange.said.map((part, at) =>
                part.kind === 'reasoning' ? (
                  <div key={at} className="turn__reasoning">
                    <span className="turn__who">reasoning</span>
                    {part.text === '' ? <span className="faint">not sent</span> : <LongText text={part.text} />}
                  </div>
                ) : (
                  <PartView key={at} part={part} />
                ),
              )}
            </div>
            {exchange.calls.length > 0 && (
              <ul className="turn__calls">
                {exchange.calls.map((call, at) => (
                  <li key={at} className="turn__call">
                    <div className="part-call__title">
                      <Icon name="tool" size={14} />
                      {call.run === null ? (
                        <strong className="code">{call.name}</strong>
                      ) : (
                        <button
                          type="button"
                          className="turn__run code"
                          onClick={() => {
                            onSelect(call.run ?? item.at);
                          }}
                        >
                          {call.name}
                        </button>
                      )}
                      {call.run !== null && <Figures tree={tree} at={call.run} />}
                    </div>
                    <div className="turn__value">
                      <AnyValue value={call.args} />
                    </div>
                    {call.result !== undefined && call.result !== null && (
                      <div className="turn__value turn__value--result">
                        <Result value={call.result} />
                      </div>
                    )}
                  </li>
                ))}
              </ul>
            )}
          </div>
        ))}
    </article>
  );
}

/** What a tool returned: text keeps its lines, it is seldom Markdown. */
function Result({ value }: { value: unknown }) {
  const decoded = decode(value);
  if (typeof decoded !== 'string') return <AnyValue value={decoded} />;
  return (
    <div className="turn__text code">
      <LongText text={decoded} />
    </div>
  );
}

function StepLine({ tree, item, content }: { tree: TraceTree; item: Item; content: Content | undefined }) {
  const preview = content?.output_preview;
  return (
    <div className={`transcript__step ${item.kind === 'agent' ? 'transcript__step--agent' : ''}`}>
      <Title tree={tree} at={item.at}>
        {item.kind === 'agent' && item.folds && <Icon name={item.open ? 'chevron-down' : 'chevron-right'} size={12} />}
        <strong className="truncate">
          {(item.kind === 'agent' ? textAt(tree, 'agent_name', item.at) : textAt(tree, 'tool_name', item.at)) ??
            textAt(tree, 'name', item.at)}
        </strong>
        {item.kind === 'agent' && (
          <span className="faint">
            {formatCountExact(item.turns)} {item.turns === 1 ? 'turn' : 'turns'}
          </span>
        )}
      </Title>
      {item.kind === 'step' && typeof preview === 'string' && <p className="transcript__preview faint">{preview}</p>}
    </div>
  );
}
