/** A refused record as it came, to be mended and sent again. */
import { useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';

import { apiFetch, inProject } from '../../api/client';
import { Button, LinkButton } from '../../components/Button';
import { CopyButton } from '../../components/CopyButton';
import { ErrorNotice, Prose, WarningNotice } from '../../components/Notice';
import { formatBytes } from '../../lib/format';
import { requestFor } from './advice';
import { parseRecord, partialSuccess, type Group, type Refused } from './rows';

type Sent =
  | { readonly kind: 'no' }
  | { readonly kind: 'sending' }
  | { readonly kind: 'stored'; readonly traceHref: string | null }
  | { readonly kind: 'refused'; readonly message: string }
  | { readonly kind: 'failed'; readonly error: unknown };

type Props = { refused: Refused; group: Group; /** It was changed or sent. */ onTouched: () => void };

export function Mend({ refused, group, onTouched }: Props) {
  const parsed = parseRecord(refused.record);
  const [draft, setDraft] = useState(() => (parsed === null ? (refused.record ?? '') : JSON.stringify(parsed, null, 2)));
  const [sent, setSent] = useState<Sent>({ kind: 'no' });
  const client = useQueryClient();
  const cut = refused.record !== null && refused.bytes > 0 && parsed === null;
  if (refused.record === null)
    return <p className="card__note">Nothing of the record could be kept: it could not be read at all.</p>;

  const send = async () => {
    onTouched();
    setSent({ kind: 'sending' });
    try {
      const record: unknown = JSON.parse(draft);
      const request = requestFor(group.signal, record, group.service);
      if (!request) throw new Error(`records of \`${group.signal}\` cannot be sent from here`);
      const response = await apiFetch(request.path, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(request.body),
      });
      const partial = partialSuccess(await response.json());
      setSent(partial ? { kind: 'refused', message: partial.message } : { kind: 'stored', traceHref: traceOf(record) });
      await client.invalidateQueries({ queryKey: ['ingest-sql'] });
    } catch (error) {
      setSent({ kind: 'failed', error });
    }
  };

  return (
    <section className="mend" aria-label="The record">
      <div className="mend__head">
        <h4>The record, as it came</h4>
        <CopyButton text={draft} label="Copy the record" />
      </div>
      {cut && (
        <WarningNotice>
          Of {formatBytes(refused.bytes)} the first {formatBytes(new Blob([refused.record]).size)} are kept, so it cannot be sent
          again from here.
        </WarningNotice>
      )}
      <textarea
        className="mend__text"
        aria-label="Record as OTLP/JSON"
        spellCheck={false}
        rows={Math.min(24, draft.split('\n').length + 1)}
        value={draft}
        readOnly={cut}
        onChange={(event) => {
          onTouched();
          setDraft(event.target.value);
          setSent({ kind: 'no' });
        }}
      />
      {!cut && (
        <div className="mend__do">
          <Button
            look="primary"
            disabled={sent.kind === 'sending'}
            onClick={() => {
              void send();
            }}
          >
            {sent.kind === 'sending' ? 'Sending …' : 'Send it again'}
          </Button>
          <span className="faint">
            With the service name as its only resource attribute: the quarantine keeps the record, not the request around it.
          </span>
        </div>
      )}
      <div role="status">
        {sent.kind === 'stored' && (
          <p className="mend__stored">
            Stored.{' '}
            {sent.traceHref !== null && (
              <LinkButton icon="tree" href={sent.traceHref}>
                Open its trace
              </LinkButton>
            )}{' '}
            <span className="faint">The refused one stays in quarantine: it is what was received.</span>
          </p>
        )}
      </div>
      {sent.kind === 'refused' && (
        <WarningNotice>
          <strong>Refused again.</strong> <Prose text={sent.message} />
        </WarningNotice>
      )}
      {sent.kind === 'failed' && <ErrorNotice title="It could not be sent" error={sent.error} />}
    </section>
  );
}

function traceOf(record: unknown): string | null {
  if (typeof record !== 'object' || record === null) return null;
  const fields = record as Record<string, unknown>;
  const trace = fields['traceId'];
  const span = fields['spanId'];
  if (typeof trace !== 'string' || !/^[0-9a-f]{32}$/i.test(trace)) return null;
  const path = `/traces/${trace.toLowerCase()}`;
  return inProject(typeof span === 'string' && /^[0-9a-f]{16}$/i.test(span) ? `${path}?span=${span.toLowerCase()}` : path);
}
