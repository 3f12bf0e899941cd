/** The ingest page: what comes in, what is refused, where it lies, what has no price, how it is understood. */
import { useEffect, useRef, type ReactNode } from 'react';

import { TimeRangePicker } from '../../components/TimeRangePicker';
import { FlowTab } from './FlowTab';
import './ingest-page.css';
import { MappingsTab } from './MappingsTab';
import { PricesTab } from './PricesTab';
import { QuarantineTab } from './QuarantineTab';
import type { IngestState, IngestTab } from './state';
import { StorageTab } from './StorageTab';

type Props = {
  state: IngestState;
  onChange: (change: Partial<IngestState>) => void;
  hrefOf: (change: Partial<IngestState>) => string;
};

const TABS: readonly { tab: IngestTab; title: string; ranged: boolean }[] = [
  { tab: 'flow', title: 'Flow and ledger', ranged: true },
  { tab: 'quarantine', title: 'Quarantine', ranged: true },
  { tab: 'storage', title: 'Storage and jobs', ranged: false },
  { tab: 'prices', title: 'Unpriced models', ranged: false },
  { tab: 'mappings', title: 'Mapping rules', ranged: false },
];

export function IngestPage({ state, onChange, hrefOf }: Props) {
  const tabs = useRef<HTMLElement>(null);
  // Where the tabs do not fit in a line, the current one is scrolled to.
  useEffect(() => {
    tabs.current?.querySelector('[aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  }, [state.tab]);
  const shown = TABS.find((each) => each.tab === state.tab) ?? TABS[0];
  return (
    <div className="ingest">
      <h1 className="visually-hidden">Ingest</h1>
      <div className="ingest__bar">
        <nav className="ingest__tabs" aria-label="Parts of the ingest page" ref={tabs}>
          {TABS.map(({ tab, title }) => (
            <a
              key={tab}
              className="ingest__tab"
              href={hrefOf({ tab, reason: null, record: null, table: null, dialect: null, find: null, span: null })}
              aria-current={tab === shown?.tab ? 'page' : undefined}
            >
              {title}
            </a>
          ))}
        </nav>
        {shown?.ranged && (
          <TimeRangePicker
            range={state.range}
            onChange={(range) => {
              onChange({ range, record: null });
            }}
          />
        )}
      </div>
      <div className="ingest__body">{content(shown?.tab ?? 'flow', { state, onChange, hrefOf })}</div>
    </div>
  );
}

function content(tab: IngestTab, props: Props): ReactNode {
  switch (tab) {
    case 'quarantine':
      return <QuarantineTab {...props} />;
    case 'storage':
      return <StorageTab {...props} />;
    case 'prices':
      return (
        <PricesTab
          chosen={props.state.model}
          onChoose={(model) => {
            props.onChange({ model });
          }}
        />
      );
    case 'mappings':
      return <MappingsTab {...props} />;
    default:
      return <FlowTab range={props.state.range} quarantineHref={props.hrefOf({ tab: 'quarantine' })} />;
  }
}
