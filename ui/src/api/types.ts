/** Names for the generated types that pages use. */
import type { components } from './generated/openapi';

type Schemas = components['schemas'];

export type TraceSummary = Schemas['TraceSummary'];
export type SpanSummary = Schemas['SpanSummary'];
export type SpanDetail = Schemas['SpanDetail'];
export type CostLine = Schemas['CostLine'];
export type Trace = Schemas['Trace'];
export type Strip = Schemas['Strip'];
export type Status = Schemas['Status'];
export type SqlResult = Schemas['SqlResult'];
export type ServerSchema = Schemas['Schema'];
