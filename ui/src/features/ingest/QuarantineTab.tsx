/** Records that were refused: by reason, with the record, what is wrong with it, what to do, and a way to send it again. */
import { Sideways } from '../../components/Sideways';
import { EmptyState, Prose } from '../../components/Notice';
import { SqlLink } from '../../components/SqlLink';
import { formatAgo, formatBytes, formatCountExact, formatFullTime, plural } from '../../lib/format';
import { useNow } from '../../lib/hooks';
import { adviceFor } from './advice';
import { Answer, Card } from './Card';
import { Mend } from './Mend';
import './quarantine.css';
import { quarantineGroups, quarantineRecords } from './questions';
import { readGroups, readRefused, type Group } from './rows';
import type { IngestState } from './state';
import { useSql } from './useSql';

type Props = {
  state: IngestState;
  onChange: (change: Partial<IngestState>) => void;
  hrefOf: (change: Partial<IngestState>) => string;
};

export function QuarantineTab({ state, onChange, hrefOf }: Props) {
  const sql = quarantineGroups(state.range);
  const groups = useSql(sql);
  return (
    <Card title="Refused records" sql={sql} aside="one bad record does not cost its batch: the others were stored" wide>
      <Answer
        of="the quarantine"
        query={groups}
        empty={
          <EmptyState title="Nothing was refused">
            <p>A record that cannot be stored would be here with the reason, and the rest of its batch would be stored.</p>
          </EmptyState>
        }
      >
        {(rows) => {
          const all = readGroups(rows);
          const open = all.find((group) => group.id === state.reason) ?? all[0];
          return (
            <div className="quarantine">
              <Groups groups={all} open={open?.id ?? ''} hrefOf={hrefOf} />
              {open && <Records key={open.id} group={open} state={state} onChange={onChange} hrefOf={hrefOf} />}
            </div>
          );
        }}
      </Answer>
    </Card>
  );
}

function Groups({ groups, open, hrefOf }: { groups: readonly Group[]; open: string; hrefOf: Props['hrefOf'] }) {
  const now = useNow(10_000);
  return (
    <ul className="quarantine__groups" aria-label="Reasons">
      {groups.map((group) => (
        <li key={group.id}>
          <a
            className="quarantine__group"
            href={hrefOf({ reason: group.id, record: null })}
            aria-current={group.id === open ? 'true' : undefined}
          >
            <span className="quarantine__reason">{adviceFor(group.reason).title}</span>
            <span className="quarantine__count num">{formatCountExact(group.records)}</span>
            <span className="quarantine__who">
              {group.signal} of {group.service ?? 'an unnamed service'} · {formatAgo(Date.parse(group.lastTime), now)}
            </span>
          </a>
        </li>
      ))}
    </ul>
  );
}

function Records({ group, state, onChange, hrefOf }: Props & { group: Group }) {
  const sql = quarantineRecords(state.range, group);
  const records = useSql(sql);
  const advice = adviceFor(group.reason);
  return (
    <section className="quarantine__detail" aria-label={advice.title}>
      <div className="quarantine__advice">
        <h3>{advice.title}</h3>
        <p>
          <Prose text={advice.why} />
        </p>
        <h4>What to do</h4>
        <p>
          <Prose text={advice.todo} />
        </p>
      </div>
      <Answer of="the records" query={records} empty="These records are no longer there.">
        {(rows) => {
          const all = readRefused(rows);
          const shown = all.find((each) => each.id === state.record) ?? all[0];
          return (
            <>
              <Sideways label="Refused records of this reason" className="quarantine__records">
                <table className="facts" aria-label="Records">
                  <thead>
                    <tr>
                      <th>
                        Received <SqlLink sql={sql} of="these records" />
                      </th>
                      <th>Found, and expected</th>
                      <th className="facts__number">Size</th>
                    </tr>
                  </thead>
                  <tbody>
                    {all.map((each) => (
                      <tr key={each.id} className={each === shown ? 'facts__row--open' : ''}>
                        <td className="quarantine__when num">
                          <a
                            href={hrefOf({ reason: group.id, record: each.id })}
                            aria-current={each === shown ? 'true' : undefined}
                          >
                            {formatFullTime(each.receivedAt)}
                          </a>
                        </td>
                        <td>
                          <Prose text={each.detail} />
                        </td>
                        <td className="facts__number">{formatBytes(each.bytes)}</td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </Sideways>
              {group.records > all.length && (
                <p className="card__note">
                  The latest {all.length} of {plural(group.records, 'record')}.
                </p>
              )}
              {shown && (
                <Mend
                  key={shown.id}
                  refused={shown}
                  group={group}
                  // From here on it is this record, also when a newer one comes to stand above it.
                  onTouched={() => {
                    if (state.record !== shown.id) onChange({ reason: group.id, record: shown.id });
                  }}
                />
              )}
            </>
          );
        }}
      </Answer>
    </section>
  );
}
