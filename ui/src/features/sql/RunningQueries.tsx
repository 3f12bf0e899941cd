/** The queries that the server works on now, with a button to stop each. */
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { Popover } from 'radix-ui';

import { IconButton } from '../../components/Button';
import { Icon } from '../../components/Icon';
import '../../components/menu.css';
import { ErrorNotice } from '../../components/Notice';
import { formatBytes, formatCount } from '../../lib/format';
import { cancelQuery, runningQuery } from './queries';
import './running-queries.css';

export function RunningQueries() {
  return (
    <Popover.Root>
      <Popover.Trigger className="button button--quiet">
        <Icon name="live" size={14} />
        Running
      </Popover.Trigger>
      <Popover.Portal>
        <Popover.Content className="popover running" align="end" sideOffset={5} collisionPadding={8} aria-label="Running queries">
          <List />
        </Popover.Content>
      </Popover.Portal>
    </Popover.Root>
  );
}

function List() {
  const { data, isError, error } = useQuery(runningQuery(1_000));
  const client = useQueryClient();
  const cancel = useMutation({
    mutationFn: cancelQuery,
    onSettled: () => client.invalidateQueries({ queryKey: ['sql-running'] }),
  });
  if (isError) return <ErrorNotice title="The running queries could not be read" error={error} />;
  const queries = data ?? [];
  return (
    <>
      <h2 className="running__title">Running queries of this project</h2>
      {cancel.isError && <ErrorNotice title="It could not be stopped" error={cancel.error} />}
      {queries.length === 0 && <p className="faint running__none">{data ? 'None.' : 'Asking …'}</p>}
      <ul aria-label="Running queries">
        {queries.map((query) => (
          <li key={query.query_id} className="running__query">
            <span className="running__text">
              <span className="code truncate" title={query.query}>
                {query.query.replace(/\s+/g, ' ')}
              </span>
              <span className="faint num">
                {query.source === 'sql' ? 'SQL' : 'a page'} · {(query.elapsed_ms / 1000).toFixed(1)} s · {formatCount(query.rows)}{' '}
                rows · {formatBytes(query.bytes_scanned)} read · {formatBytes(query.memory_bytes)} memory
              </span>
            </span>
            <IconButton
              icon="stop"
              label={`Stop the query ${query.query.slice(0, 60)}`}
              onClick={() => {
                cancel.mutate(query.query_id);
              }}
            />
          </li>
        ))}
      </ul>
    </>
  );
}
