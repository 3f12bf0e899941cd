/** Reads a trace and builds its tree away from the page, so that neither the answer of many megabytes nor the sums block it. */
import type { SpanColumns, TraceColumns } from '../../api/types';
import { buffersOf, buildTree, type TraceTree } from './tree';

export type TraceRequest = { readonly id: number; readonly url: string; readonly project: string };

/** The trace without its spans, which are in the tree. */
export type TraceHead = Omit<TraceColumns, 'spans'>;

export type TraceAnswer =
  | { readonly id: number; readonly kind: 'read'; readonly head: TraceHead; readonly tree: TraceTree }
  | { readonly id: number; readonly kind: 'refused'; readonly status: number; readonly problem: unknown };

type Scope = {
  onmessage: ((event: MessageEvent<TraceRequest>) => void) | null;
  postMessage: (message: TraceAnswer, transfer?: Transferable[]) => void;
};
const scope = self as unknown as Scope;

scope.onmessage = ({ data }) => {
  void read(data).then((answer) => {
    scope.postMessage(answer, answer.kind === 'read' ? buffersOf(answer.tree) : []);
  });
};

async function read({ id, url, project }: TraceRequest): Promise<TraceAnswer> {
  let response: Response;
  try {
    response = await fetch(url, { headers: { 'X-Assay-Project': project } });
  } catch {
    return { id, kind: 'refused', status: 0, problem: { detail: 'the server does not answer; is it running?' } };
  }
  const body: unknown = await response.json().catch(() => null);
  if (!response.ok || body === null) return { id, kind: 'refused', status: response.status, problem: body };
  const { spans, ...head } = body as TraceHead & { spans: SpanColumns };
  return { id, kind: 'read', head, tree: buildTree(spans) };
}
