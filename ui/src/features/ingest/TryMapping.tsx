/** A box to try the rules on a span: what was received on the left, what Assay makes of it on the right. */
import { useMutation } from '@tanstack/react-query';
import { useEffect, useState } from 'react';

import { Button } from '../../components/Button';
import { Sideways } from '../../components/Sideways';
import { JsonView } from '../../components/JsonView';
import { EmptyState, ErrorNotice } from '../../components/Notice';
import { SqlLink } from '../../components/SqlLink';
import { Tag } from '../../components/Values';
import { formatCountExact, formatMoneyExact, UNKNOWN } from '../../lib/format';
import { triedCost } from './questions';
import { ask } from './useSql';
import { Card } from './Card';
import { asTrial, latestCall, receivedSpan, tryMapping, type Tried } from './mappings';

const EXAMPLE = `{
  "gen_ai.operation.name": "chat",
  "gen_ai.provider.name": "openai",
  "gen_ai.request.model": "gpt-4o-mini",
  "gen_ai.usage.input_tokens": 1200,
  "gen_ai.usage.output_tokens": 80
}`;

/** `span`: `trace.span` of one that was received, from the address. */
export function TryMapping({ span }: { span: string | null }) {
  const [typed, setTyped] = useState(EXAMPLE);
  const attempt = useMutation({
    mutationFn: async (json: string) => {
      const trial = asTrial(parse(json));
      if (!trial) throw new Error('found neither a span nor attributes, expected a JSON object');
      return tryMapping(trial);
    },
  });
  const { mutate: tryIt } = attempt;
  const take = useMutation({
    mutationFn: async (place: string | null) => {
      const from = place ?? (await latest());
      const received = await receivedSpan(from);
      if (!received) throw new Error(`no span \`${from}\` was received`);
      return JSON.stringify(received, null, 2);
    },
    onSuccess: (json) => {
      setTyped(json);
      tryIt(json);
    },
  });
  const { mutate: takeSpan } = take;
  // The first picture shows an answer, not an empty frame.
  useEffect(() => {
    if (span === null) tryIt(EXAMPLE);
    else takeSpan(span);
  }, [span, takeSpan, tryIt]);
  return (
    <Card title="Try a span" aside="nothing is stored" wide>
      <div className="try">
        <form
          className="try__input"
          onSubmit={(event) => {
            event.preventDefault();
            tryIt(typed);
          }}
        >
          <textarea
            className="mend__text try__text"
            aria-label="Span or attributes as JSON"
            spellCheck={false}
            value={typed}
            onChange={(event) => {
              setTyped(event.target.value);
            }}
            onKeyDown={(event) => {
              if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) tryIt(typed);
            }}
          />
          <div className="mend__do">
            <Button type="submit" look="primary" icon="play" disabled={attempt.isPending}>
              Try
            </Button>
            <Button
              disabled={take.isPending}
              onClick={() => {
                takeSpan(null);
              }}
            >
              Take the latest call
            </Button>
            <span className="faint">Attributes as plain JSON, a span as OTLP/JSON, or a span with its resource and scope.</span>
          </div>
          {take.isError && <ErrorNotice title="No span could be taken" error={take.error} />}
        </form>
        <div className="try__answer" aria-live="polite">
          {attempt.isError && <ErrorNotice title="It could not be tried" error={attempt.error} />}
          {attempt.data && <Outcome tried={attempt.data} />}
        </div>
      </div>
    </Card>
  );
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch (error) {
    throw new Error(`this is not JSON: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

async function latest(): Promise<string> {
  const [row] = await ask(latestCall(), new AbortController().signal);
  const { trace_id: trace, span_id: span } = row ?? {};
  if (typeof trace !== 'string' || typeof span !== 'string') throw new Error('no call of a model was received yet');
  return `${trace}.${span}`;
}

function Outcome({ tried }: { tried: Tried }) {
  const columns = Object.entries(tried.columns as Readonly<Record<string, unknown>>);
  const rules = tried.rules as Readonly<Record<string, unknown>>;
  return (
    <>
      <p className="try__verdict">
        <Tag>{tried.dialect ?? 'no dialect'}</Tag>{' '}
        {tried.is_call ? 'A call of a model: it counts and is priced.' : 'Not a call of a model: it has no cost of its own.'}
      </p>
      {columns.length === 0 ? (
        <EmptyState title="No rule found anything">
          <p>The attributes are kept as they are and can be asked by SQL; no column is filled from them.</p>
        </EmptyState>
      ) : (
        <Sideways label="Columns that are filled">
          <table className="facts">
            <thead>
              <tr>
                <th>Column</th>
                <th>Value</th>
                <th>Rule</th>
              </tr>
            </thead>
            <tbody>
              {columns.map(([name, value]) => (
                <tr key={name}>
                  <td className="code">{name}</td>
                  <td className="try__value">
                    {typeof value === 'object' && value !== null ? <JsonView value={value} openDepth={0} /> : String(value)}
                  </td>
                  <td className="code try__rule">
                    {typeof rules[name] === 'string' ? rules[name] : <span className="faint">derived</span>}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Sideways>
      )}
      {tried.cost_lines.length > 0 && <Cost lines={tried.cost_lines} />}
    </>
  );
}

function Cost({ lines }: { lines: Tried['cost_lines'] }) {
  return (
    <>
      <h3 className="try__title">
        What it would cost <SqlLink sql={triedCost(lines)} of="what it would cost" />
      </h3>
      <Sideways label="Cost by usage">
        <table className="facts" aria-label="Cost">
          <thead>
            <tr>
              <th>Usage</th>
              <th className="facts__number">Tokens</th>
              <th className="facts__number">$ per million</th>
              <th className="facts__number">Cost</th>
              <th>Price</th>
            </tr>
          </thead>
          <tbody>
            {lines.map((line) => (
              <tr key={line.usage_kind}>
                <td>{line.usage_kind}</td>
                <td className="facts__number">{formatCountExact(line.units)}</td>
                <td className="facts__number">{line.usd_per_million ?? UNKNOWN}</td>
                <td className="facts__number money">{formatMoneyExact(line.cost_usd)}</td>
                <td className="code try__rule">{line.price ?? <Tag tone="warning">unpriced</Tag>}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Sideways>
    </>
  );
}
