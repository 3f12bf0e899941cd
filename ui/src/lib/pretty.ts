/** JSON text with line breaks and indents, without reading its values: numbers keep every digit. Pure. */

const INDENT = '  ';

/** Anything that is not JSON comes back with breaks in odd places, and never with other characters than white space added. */
export function prettyJson(json: string): string {
  const token = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;
  let depth = 0;
  let last = '';
  const parts: string[] = [];
  for (const [word] of json.matchAll(token)) {
    const closes = word === '}' || word === ']';
    if (closes) depth -= 1;
    const empty = (last === '{' && word === '}') || (last === '[' && word === ']');
    if (!empty && (closes || last === '{' || last === '[' || last === ',')) parts.push('\n', INDENT.repeat(Math.max(0, depth)));
    parts.push(word === ':' ? ': ' : word);
    if (word === '{' || word === '[') depth += 1;
    last = word;
  }
  return parts.join('');
}
