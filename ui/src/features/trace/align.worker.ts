/** Aligns two traces away from the page. */
import { alignTrees, type Aligned } from './align';
import type { TraceTree } from './tree';

export type AlignRequest = { readonly id: number; readonly a: TraceTree; readonly b: TraceTree };
export type AlignAnswer = { readonly id: number; readonly aligned: Aligned };

type Scope = {
  onmessage: ((event: MessageEvent<AlignRequest>) => void) | null;
  postMessage: (message: AlignAnswer, transfer: Transferable[]) => void;
};
const scope = self as unknown as Scope;

scope.onmessage = ({ data: { id, a, b } }) => {
  const aligned = alignTrees(a, b);
  scope.postMessage({ id, aligned }, [aligned.a.buffer, aligned.b.buffer, aligned.depth.buffer, aligned.differs.buffer]);
};
