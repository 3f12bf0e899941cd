/** The plan of a query as the rows of a table: depth, share of the time. Pure. */

export type PlanNode = {
  readonly id: number;
  readonly parent?: number | null;
  readonly operator: string;
  readonly detail: string;
  /** `null`: it did not run. */
  readonly rows?: number | null;
  /** Processor time it took itself, over all partitions. */
  readonly elapsed_ns?: number | null;
  readonly metrics: Readonly<Record<string, number>>;
};

export type PlanRow = PlanNode & {
  readonly depth: number;
  /** Share of the time of all operators, 0 to 1; `null` if it did not run. */
  readonly share: number | null;
  /** Share of the most rows that an operator gave. */
  readonly rowShare: number | null;
};

/** Each operator before those it reads from, with its depth. A parent that is not there makes a root. */
export function planRows(plan: readonly PlanNode[]): PlanRow[] {
  const total = plan.reduce((sum, node) => sum + (node.elapsed_ns ?? 0), 0);
  const most = Math.max(1, ...plan.map((node) => node.rows ?? 0));
  const children = new Map<number | null, PlanNode[]>();
  const ids = new Set(plan.map((node) => node.id));
  for (const node of plan) {
    const parent = node.parent !== undefined && node.parent !== null && ids.has(node.parent) ? node.parent : null;
    children.set(parent, [...(children.get(parent) ?? []), node]);
  }
  const rows: PlanRow[] = [];
  const open = (children.get(null) ?? []).map((node) => ({ node, depth: 0 })).reverse();
  for (let next = open.pop(); next; next = open.pop()) {
    const { node, depth } = next;
    rows.push({
      ...node,
      depth,
      share: node.elapsed_ns === undefined || node.elapsed_ns === null || total === 0 ? null : node.elapsed_ns / total,
      rowShare: node.rows === undefined || node.rows === null ? null : node.rows / most,
    });
    const inner = (children.get(node.id) ?? []).map((child) => ({ node: child, depth: depth + 1 }));
    open.push(...inner.reverse());
  }
  return rows;
}

/** `3 of 120`, and how much of it need not be read. */
export function saved(read: number | null | undefined, all: number | null | undefined): number | null {
  if (read === null || read === undefined || all === null || all === undefined || all === 0) return null;
  return 1 - read / all;
}

/** The name of an operator without the ending that all of them have. */
export function operatorName(operator: string): string {
  return operator.replace(/Exec\b/, '');
}
