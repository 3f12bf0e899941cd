/** Models that were called and have no price, with their volume, and how to give them one. */
import { queryOptions, useQuery } from '@tanstack/react-query';

import { api, projectInUrl, unwrap } from '../../api/client';
import { Button } from '../../components/Button';
import { CopyButton } from '../../components/CopyButton';
import { Sideways } from '../../components/Sideways';
import { EmptyState, ErrorNotice, Skeleton } from '../../components/Notice';
import { formatAgo, formatCountExact, formatFullTime, UNKNOWN } from '../../lib/format';
import { useNow } from '../../lib/hooks';
import { Card } from './Card';
import { priceSnippet, repriceCommand } from './prices';

const unpricedQuery = () =>
  queryOptions({
    queryKey: ['unpriced', projectInUrl()],
    queryFn: ({ signal }) => unwrap(api.GET('/api/v1/unpriced', { signal })),
    refetchInterval: 30_000,
  });

type Props = {
  /** The model that is to be priced, `null` for the first. */
  chosen: string | null;
  onChoose: (model: string) => void;
};

export function PricesTab({ chosen, onChoose }: Props) {
  const { data, isPending, isError, error } = useQuery(unpricedQuery());
  const now = useNow(30_000);
  const model = data?.models.find((each) => each.model === chosen) ?? data?.models[0];
  return (
    <>
      <Card
        title="Models without a price"
        sql={data?.sql ?? null}
        aside="unknown is not zero: these calls are missing from every sum"
        wide
      >
        {isError && (
          <div className="card__notice">
            <ErrorNotice title="The models could not be read" error={error} />
          </div>
        )}
        {isPending && <Skeleton lines={4} label="loading the models" />}
        {data?.models.length === 0 && (
          <EmptyState title="Every call has its price">
            <p>A model that the price table does not know would be here with its volume.</p>
          </EmptyState>
        )}
        {data && data.models.length > 0 && (
          <Sideways label="Volume by model">
            <table className="facts">
              <thead>
                <tr>
                  <th>Provider</th>
                  <th>Model</th>
                  <th className="facts__number">Calls</th>
                  <th className="facts__number">Input tokens</th>
                  <th className="facts__number">Output tokens</th>
                  <th>Last seen</th>
                  <th>
                    <span className="visually-hidden">Price it</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {data.models.map((each) => (
                  <tr key={`${each.provider ?? ''} ${each.model ?? ''}`} className={each === model ? 'facts__row--open' : ''}>
                    <td>{each.provider ?? UNKNOWN}</td>
                    <td className="code">{each.model ?? UNKNOWN}</td>
                    <td className="facts__number">{formatCountExact(each.calls)}</td>
                    <td className="facts__number">{formatCountExact(each.input_tokens)}</td>
                    <td className="facts__number">{formatCountExact(each.output_tokens)}</td>
                    <td className="num" title={each.last_seen ? formatFullTime(each.last_seen) : undefined}>
                      {each.last_seen ? formatAgo(Date.parse(each.last_seen), now) : UNKNOWN}
                    </td>
                    <td className="facts__number">
                      <Button
                        look="quiet"
                        aria-pressed={each === model}
                        onClick={() => {
                          onChoose(each.model ?? '');
                        }}
                      >
                        How to price it
                      </Button>
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </Sideways>
        )}
      </Card>
      {model && (
        <Card title={`A price for ${model.model ?? 'these calls'}`} wide>
          <ol className="ingest__steps">
            <li>
              <p>
                Write the price into the configuration file, in US dollars per million tokens. A rate that is not given is that of
                input, or of output; a price that is zero is written as <code>0</code>.
              </p>
              <Snippet text={priceSnippet(model.provider ?? null, model.model ?? null)} label="Copy the price" />
            </li>
            <li>
              <p>Start the server again. Calls from now on are priced; those from before are not changed silently.</p>
            </li>
            <li>
              <p>See what would change, and by how much; then change it.</p>
              <Snippet text={repriceCommand(model.last_seen ?? null, now)} label="Copy the commands" />
            </li>
          </ol>
        </Card>
      )}
    </>
  );
}

function Snippet({ text, label }: { text: string; label: string }) {
  return (
    <div className="ingest__snippet">
      <pre>{text}</pre>
      <CopyButton text={text} label={label} />
    </div>
  );
}
