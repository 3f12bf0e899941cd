/** Tokens by kind and what they cost: each line with its price and where that came from, or why there is none. */
import type { ReactNode } from 'react';

import { inProject } from '../../api/client';
import type { SpanDetail } from '../../api/types';
import { WarningNotice } from '../../components/Notice';
import { SqlLink, useSqlHref } from '../../components/SqlLink';
import { formatCountExact, formatMoneyExact, parseMoney, UNKNOWN } from '../../lib/format';
import { priceSql, subtreeSql, tokensSql } from './sql';
import { costText, type TraceTree } from './tree';

const KIND_TITLES: Record<string, string> = {
  input: 'Input',
  cache_read: 'Input read from cache',
  cache_write: 'Input written to cache',
  cache_write_1h: 'Input written to cache for 1 h',
  output: 'Output',
  reasoning: 'Reasoning',
  audio_input: 'Audio input',
  audio_output: 'Audio output',
};

export function CostTab({ traceId, span, tree, index }: { traceId: string; span: SpanDetail; tree: TraceTree; index: number }) {
  const lines = span.cost_lines;
  const sqlHref = useSqlHref();
  const unpriced = lines.some((line) => line.cost_usd === null);
  const size = tree.size[index] ?? 1;
  const tokens: [string, number | null | undefined, string][] = [
    ['Input', span.input_tokens, 'the whole prompt, cache reads and writes included'],
    ['· from cache', span.cache_read_tokens, 'part of the input'],
    ['· written to cache', span.cache_write_tokens, 'part of the input'],
    ['Output', span.output_tokens, 'the whole answer, reasoning included'],
    ['· reasoning', span.reasoning_tokens, 'part of the output'],
  ];
  const known = tokens.filter(([, value]) => value !== null && value !== undefined);
  return (
    <>
      {!span.counted && (span.input_tokens !== null || span.cost_usd !== null) && span.uncounted_reason && (
        <WarningNotice>
          <strong>Not counted in sums.</strong> {uncounted(span.uncounted_reason)}
        </WarningNotice>
      )}
      <Block title="Tokens" sql={tokensSql(traceId, span.span_id)}>
        {known.length === 0 ? (
          <p className="panel-none">No token counts were sent with this span: unknown, not zero.</p>
        ) : (
          <table className="panel-table">
            <tbody>
              {known.map(([name, value, note]) => (
                <tr key={name}>
                  <td>{name}</td>
                  <td className="right num">{formatCountExact(value)}</td>
                  <td className="faint">{note}</td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </Block>
      <Block title="Cost" sql={span.cost_sql}>
        {lines.length === 0 ? (
          <p className="panel-none">{whyNoCost(span)}</p>
        ) : (
          <table className="panel-table">
            <thead>
              <tr>
                <th scope="col">Kind</th>
                <th scope="col" className="right">
                  Tokens
                </th>
                <th scope="col" className="right">
                  $ per million
                </th>
                <th scope="col" className="right">
                  Cost
                </th>
                <th scope="col">Price</th>
              </tr>
            </thead>
            <tbody>
              {lines.map((line, at) => (
                <tr key={`${line.usage_kind} ${at}`}>
                  <td>{KIND_TITLES[line.usage_kind] ?? line.usage_kind}</td>
                  <td className="right num">{formatCountExact(line.units)}</td>
                  <td className="right num">{line.usd_per_million === null ? UNKNOWN : plain(line.usd_per_million)}</td>
                  <td className="right num money">{formatMoneyExact(line.cost_usd)}</td>
                  <td>
                    {line.price === null || line.price === undefined ? (
                      <span className="panel-none">none</span>
                    ) : (
                      <a href={sqlHref(priceSql(line.price))} title="The rates of this price and what was paid by it, as SQL">
                        {line.price}
                      </a>
                    )}{' '}
                    <span className="faint">{[line.source, line.rate_mode].filter(Boolean).join(', ')}</span>
                  </td>
                </tr>
              ))}
            </tbody>
            <tfoot>
              <tr>
                <td colSpan={3}>This span</td>
                <td className="right num money">{formatMoneyExact(span.cost_usd)}</td>
                <td />
              </tr>
            </tfoot>
          </table>
        )}
        {unpriced && (
          <p className="cost-note">
            {whyUnpriced(span)}{' '}
            <a
              href={inProject(
                `/ingest?${new URLSearchParams({ tab: 'prices', model: span.response_model ?? span.request_model ?? '' }).toString()}`,
              )}
            >
              How to price it
            </a>
          </p>
        )}
        {span.reported_cost_usd !== null && span.reported_cost_usd !== undefined && (
          <p className="cost-note">
            The sender reported <span className="num money">{formatMoneyExact(span.reported_cost_usd)}</span>, by its own price
            list.
          </p>
        )}
      </Block>
      {size > 1 && (
        <Block title={`Subtree of ${formatCountExact(size)} spans`} sql={subtreeSql(traceId, span.span_id)}>
          <table className="panel-table">
            <tbody>
              <tr>
                <td>Input tokens</td>
                <td className="right num">{formatCountExact(tree.inputTokens[index])}</td>
              </tr>
              <tr>
                <td>Output tokens</td>
                <td className="right num">{formatCountExact(tree.outputTokens[index])}</td>
              </tr>
              <tr>
                <td>Cost</td>
                <td className="right num money">{costText(tree, index)}</td>
              </tr>
              <tr>
                <td>Errors</td>
                <td className="right num">{formatCountExact(tree.errors[index])}</td>
              </tr>
            </tbody>
          </table>
        </Block>
      )}
    </>
  );
}

function Block({ title, sql, children }: { title: string; sql: string; children: ReactNode }) {
  return (
    <div role="group" className="panel-block" aria-label={title}>
      <h3 className="panel-block__title">
        {title}
        <SqlLink sql={sql} of={title.toLowerCase()} />
      </h3>
      {children}
    </div>
  );
}

/** The price without trailing zeros. */
function plain(price: string | null | undefined): string {
  return formatMoneyExact(parseMoney(price)).replace('$', '');
}

function whyNoCost(span: SpanDetail): string {
  const model = span.response_model ?? span.request_model;
  if (model === null || model === undefined) return 'This span is not a model call, so it has no price of its own.';
  if (span.input_tokens === null && span.output_tokens === null)
    return `The usage of ${model} was not sent, so its cost is unknown.`;
  if (!span.counted) return 'Another span reports this call; the cost lines stand there.';
  return whyUnpriced(span);
}

function whyUnpriced(span: SpanDetail): string {
  const model = span.response_model ?? span.request_model;
  if (model === null || model === undefined)
    return 'Unpriced, not free: the sender named no model, so that no price could be looked up.';
  const at = span.provider === null || span.provider === undefined ? '' : ` at ${span.provider}`;
  return `Unpriced, not free: neither the price table nor the configuration had a price for ${model}${at} that was valid then and covers all these kinds; a call is priced whole or not at all.`;
}

function uncounted(reason: string): string {
  switch (reason) {
    case 'wrapper':
      return 'A span below reports the same call.';
    case 'duplicate':
      return 'Another span reports the same answer of the provider.';
    default:
      return reason;
  }
}
