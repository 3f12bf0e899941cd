/** Where a cell of a result leads, within the project of the address. */
import { inProject } from '../../api/client';
import { cellLink } from './cells';

export function linkOf(columns: readonly { name: string }[], row: readonly unknown[], column: number): string | null {
  const path = cellLink(columns, row, column);
  return path === null ? null : inProject(path);
}
