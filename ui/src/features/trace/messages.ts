/**
 * Messages in the GenAI format (`[{"role","parts":[…]}]`) as typed parts, with each tool call beside the result that answers its id.
 *
 * Whatever is not understood stays visible as JSON: nothing is dropped.
 */

import { readCut, type Cut } from '../../components/Cut';

export type Part =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'reasoning'; readonly text: string }
  | { readonly kind: 'tool-call'; readonly id: string | null; readonly name: string; readonly args: unknown; readonly result: { readonly value: unknown } | null }
  | { readonly kind: 'tool-result'; readonly id: string | null; readonly name: string | null; readonly value: unknown }
  | { readonly kind: 'media'; readonly modality: string; readonly mime: string | null; readonly source: string | null; readonly note: string | null }
  | { readonly kind: 'stored'; readonly modality: string; readonly mime: string | null; readonly sha256: string; readonly bytes: number | null }
  | { readonly kind: 'cut'; readonly cut: Cut; readonly reasoning: boolean }
  | { readonly kind: 'other'; readonly value: unknown }; // prettier-ignore

export type Message = {
  readonly role: string;
  readonly name: string | null;
  readonly finishReason: string | null;
  readonly parts: readonly Part[];
};

export type ToolDefinition = { readonly name: string; readonly description: string | null; readonly parameters: unknown };

/** Messages of one side (system instructions, input or output). */
export function parseMessages(value: unknown): Message[] {
  const list = asList(decode(value));
  if (
    list.length > 0 &&
    list.every((each) => isRecord(each) && typeof each['role'] !== 'string' && typeof each['type'] === 'string')
  ) {
    return [{ role: 'system', name: null, finishReason: null, parts: list.map(parsePart) }];
  }
  return list.map(parseMessage);
}

/** System instructions: parts without a role, or plain text. */
export function parseInstructions(value: unknown): Message[] {
  return parseMessages(value).map((message) => (message.role === 'unknown' ? { ...message, role: 'system' } : message));
}

function parseMessage(value: unknown): Message {
  if (!isRecord(value)) return { role: 'unknown', name: null, finishReason: null, parts: asParts(value) };
  const { role, name, finish_reason: finish } = value;
  const parts =
    'parts' in value
      ? asParts(value['parts'])
      : 'content' in value
        ? asParts(value['content'])
        : [{ kind: 'other', value } as const];
  return {
    role: typeof role === 'string' ? role : 'unknown',
    name: typeof name === 'string' ? name : null,
    finishReason: typeof finish === 'string' && finish !== '' ? finish : null,
    parts,
  };
}

function asParts(value: unknown): Part[] {
  if (value === null || value === undefined || value === '') return [];
  return asList(value).map(parsePart);
}

function parsePart(value: unknown): Part {
  if (typeof value === 'string') return { kind: 'text', text: value };
  if (!isRecord(value)) return { kind: 'other', value };
  const text = firstText(value['content'], value['text']);
  const cut = readCut(value['content']) ?? readCut(value['text']);
  if (cut && text === null && /^(text|refusal|reasoning|thinking)$/.test(String(value['type'])))
    return { kind: 'cut', cut, reasoning: value['type'] === 'reasoning' || value['type'] === 'thinking' };
  switch (value['type']) {
    case 'text':
    case 'refusal':
      return text === null ? { kind: 'other', value } : { kind: 'text', text };
    case 'reasoning':
    case 'thinking':
      return { kind: 'reasoning', text: text ?? firstText(value['thinking']) ?? '' };
    case 'tool_call':
      return {
        kind: 'tool-call',
        id: asText(value['id']),
        name: asText(value['name']) ?? 'tool',
        args: decode(value['arguments']),
        result: null,
      };
    case 'tool_call_response':
      return {
        kind: 'tool-result',
        id: asText(value['id']),
        name: asText(value['name']),
        value: decode(value['response'] ?? value['result']),
      };
    case 'blob':
    case 'uri':
    case 'file':
    case 'image':
    case 'audio':
    case 'video':
      return parseMedia(value);
    default:
      return { kind: 'other', value };
  }
}

function parseMedia(value: Record<string, unknown>): Part {
  const mime = asText(value['mime_type']);
  const modality = asText(value['modality']) ?? mime?.split('/')[0] ?? asText(value['type']) ?? 'file';
  const content = value['content'] ?? value['data'];
  if (isRecord(content) && typeof content['$blob'] === 'string') {
    const bytes = typeof content['bytes'] === 'number' ? content['bytes'] : null;
    return { kind: 'stored', modality, mime, sha256: content['$blob'], bytes };
  }
  if (typeof content === 'string' && content !== '') {
    if (content.startsWith('data:')) return { kind: 'media', modality, mime, source: content, note: null };
    return { kind: 'media', modality, mime, source: `data:${mime ?? 'application/octet-stream'};base64,${content}`, note: null };
  }
  const uri = asText(value['uri']) ?? asText(value['url']);
  if (uri !== null) return { kind: 'media', modality, mime, source: uri, note: null };
  const file = asText(value['file_id']);
  return file === null ? { kind: 'other', value } : { kind: 'media', modality, mime, source: null, note: `file ${file}` };
}

/**
 * Puts each tool result beside the call with its id, and leaves out messages that then have nothing left to say. Ids may repeat (some
 * frameworks count them from zero in each turn): a result belongs to the nearest call before it that has no result yet.
 */
export function pairToolCalls(messages: readonly Message[]): Message[] {
  const results = new Map<string, unknown>();
  const taken = new Set<string>();
  const open = new Map<string, string[]>();
  messages.forEach((message, m) => {
    message.parts.forEach((part, p) => {
      if (part.kind === 'tool-call' && part.id !== null) {
        open.set(part.id, [...(open.get(part.id) ?? []), `${m}.${p}`]);
      } else if (part.kind === 'tool-result' && part.id !== null) {
        const call = open.get(part.id)?.pop();
        if (call === undefined) return;
        results.set(call, part.value);
        taken.add(`${m}.${p}`);
      }
    });
  });
  return messages.flatMap((message, m) => {
    const parts = message.parts.flatMap((part, p): Part[] => {
      const at = `${m}.${p}`;
      if (taken.has(at)) return [];
      return [part.kind === 'tool-call' && results.has(at) ? { ...part, result: { value: results.get(at) } } : part];
    });
    return parts.length === 0 && message.parts.length > 0 ? [] : [{ ...message, parts }];
  });
}

/** Tools offered to the model, in any of the shapes that are sent. */
export function parseToolDefinitions(value: unknown): ToolDefinition[] {
  return asList(decode(value)).map((each) => {
    const tool = isRecord(each) && isRecord(each['function']) ? each['function'] : each;
    if (!isRecord(tool)) return { name: typeof tool === 'string' ? tool : 'tool', description: null, parameters: null };
    const parameters = tool['parameters'] ?? tool['input_schema'] ?? tool['inputSchema'] ?? tool['schema'] ?? null;
    return { name: asText(tool['name']) ?? 'tool', description: asText(tool['description']), parameters: decode(parameters) };
  });
}

/** JSON text is opened, any other text stays what it is. */
export function decode(value: unknown): unknown {
  if (typeof value !== 'string' || !/^\s*[[{]/.test(value)) return value;
  try {
    return JSON.parse(value) as unknown;
  } catch {
    return value;
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function asList(value: unknown): unknown[] {
  if (value === null || value === undefined) return [];
  return Array.isArray(value) ? value : [value];
}

function asText(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}

function firstText(...values: unknown[]): string | null {
  for (const value of values) if (typeof value === 'string') return value;
  return null;
}
