/** An image, audio, a video or a file of a message that stands in blob storage: fetched with the project's header, then shown. */
import { useQuery } from '@tanstack/react-query';
import { useEffect, useState } from 'react';

import { apiFetch, projectInUrl } from '../../api/client';
import { Button } from '../../components/Button';
import { formatBytes } from '../../lib/format';
import type { Part } from './messages';

/** Larger content is fetched when it is asked for. */
const FETCH_BYTES_MAX = 16 * 1024 * 1024;

export function StoredMedia({ part }: { part: Extract<Part, { kind: 'stored' }> }) {
  const [wanted, setWanted] = useState((part.bytes ?? 0) <= FETCH_BYTES_MAX);
  const stored = useQuery({
    queryKey: ['blob', projectInUrl(), part.sha256],
    queryFn: async ({ signal }) => (await apiFetch(`/api/v1/blobs/${part.sha256}`, { signal })).blob(),
    staleTime: Infinity,
    gcTime: 60_000,
    enabled: wanted,
  });
  const url = useObjectUrl(stored.data);
  const size = part.bytes === null ? null : formatBytes(part.bytes);
  const what = [part.modality, part.mime, size].filter(Boolean).join(', ');
  if (stored.error) return <p className="part-media">{`${what}: ${stored.error.message}`}</p>;
  if (url === null || stored.data === undefined) {
    return (
      <p className="part-media faint">
        {what}{' '}
        {wanted ? (
          <span role="status">reading</span>
        ) : (
          <Button
            icon="download"
            onClick={() => {
              setWanted(true);
            }}
          >
            Load it
          </Button>
        )}
      </p>
    );
  }
  // The server tells the type from the bytes; where they tell nothing, what the sender said names the file.
  const type = /^application\/octet-stream/.test(stored.data.type) ? (part.mime ?? '') : stored.data.type;
  return <MediaBox url={url} type={stored.data.type} what={what} file={`${part.sha256.slice(0, 12)}${extensionOf(type)}`} />;
}

type MediaProps = { url: string; /** Its media type, which decides how it is shown. */ type: string; what: string; file: string };

/** An image, audio or video with what it is and a way to keep it; of anything else the latter alone. */
export function MediaBox({ url, type, what, file }: MediaProps) {
  return (
    <figure className="part-media part-media--box">
      {/^image\/(png|jpeg|gif|webp|avif|bmp)\b/.test(type) && (
        <img className="part-media__image" src={url} alt="sent with the message" />
      )}
      {type.startsWith('audio/') && (
        // eslint-disable-next-line jsx-a11y/media-has-caption -- what a model heard comes without captions
        <audio controls src={url} aria-label="audio of the message" />
      )}
      {type.startsWith('video/') && (
        // eslint-disable-next-line jsx-a11y/media-has-caption -- what a model saw comes without captions
        <video className="part-media__image" controls src={url} aria-label="video of the message" />
      )}
      <figcaption>
        {what}{' '}
        <a href={url} download={file}>
          Download
        </a>
      </figcaption>
    </figure>
  );
}

/** `.png` of `image/png`; nothing where the type does not name an ending. */
export function extensionOf(type: string): string {
  const subtype = /^\w+\/(?:x-|vnd\.)?([a-z0-9]+)/.exec(type)?.[1] ?? '';
  if (subtype === '' || subtype === 'octet') return '';
  return `.${{ jpeg: 'jpg', plain: 'txt', mpeg: 'mp3', quicktime: 'mov' }[subtype] ?? subtype}`;
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
