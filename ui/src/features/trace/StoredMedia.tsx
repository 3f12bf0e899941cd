/** An image, audio, a video or a file of a message that stands in blob storage: fetched with the project's header, then shown. */
import { useQuery } from '@tanstack/react-query';
import { useEffect, useState } from 'react';

import { apiFetch } from '../../api/client';
import { formatCountExact } from '../../lib/format';
import type { Part } from './messages';

export function StoredMedia({ part }: { part: Extract<Part, { kind: 'stored' }> }) {
  const stored = useQuery({
    queryKey: ['blob', part.sha256],
    queryFn: async ({ signal }) => (await apiFetch(`/api/v1/blobs/${part.sha256}`, { signal })).blob(),
    staleTime: Infinity,
  });
  const url = useObjectUrl(stored.data);
  const size = part.bytes === null ? null : `${formatCountExact(part.bytes)} bytes`;
  const what = [part.modality, part.mime, size].filter(Boolean).join(', ');
  if (stored.error) return <p className="part-media">{`${what}: ${stored.error.message}`}</p>;
  if (url === null || stored.data === undefined) return <p className="part-media faint">{what}</p>;
  const type = stored.data.type;
  if (type.startsWith('image/')) return <img className="part-media__image" src={url} alt="sent with the message" />;
  if (type.startsWith('audio/')) {
    // eslint-disable-next-line jsx-a11y/media-has-caption -- what a model heard comes without captions
    return <audio controls src={url} aria-label="audio of the message" />;
  }
  if (type.startsWith('video/')) {
    // eslint-disable-next-line jsx-a11y/media-has-caption -- what a model saw comes without captions
    return <video className="part-media__image" controls src={url} aria-label="video of the message" />;
  }
  return (
    <p className="part-media">
      {what}:{' '}
      <a href={url} download={`${part.sha256.slice(0, 12)}${type === 'application/pdf' ? '.pdf' : ''}`}>
        download
      </a>
    </p>
  );
}

/** An address for `blob` as long as the component stands. */
function useObjectUrl(blob: Blob | undefined): string | null {
  const [url, setUrl] = useState<string | null>(null);
  useEffect(() => {
    if (blob === undefined) return;
    const made = URL.createObjectURL(blob);
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [blob]);
  return url;
}
