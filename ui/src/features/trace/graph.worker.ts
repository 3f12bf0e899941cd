/** Lays a graph out away from the page. */
import { makeGraph, type Graph } from './graph';
import type { TraceTree } from './tree';

export type GraphRequest = { readonly id: number; readonly tree: TraceTree; readonly expanded: boolean };
export type GraphAnswer = { readonly id: number; readonly graph: Graph };

type Scope = {
  onmessage: ((event: MessageEvent<GraphRequest>) => void) | null;
  postMessage: (message: GraphAnswer) => void;
};
const scope = self as unknown as Scope;

scope.onmessage = ({ data: { id, tree, expanded } }) => {
  scope.postMessage({ id, graph: makeGraph(tree, expanded) });
};
