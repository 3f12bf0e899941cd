import { readdirSync, readFileSync } from 'node:fs';

import { expect, test } from 'vitest';

const css = readFileSync(new URL('./tokens.css', import.meta.url), 'utf8');

function variables(selector: string): Map<string, string> {
  const start = css.indexOf(`${selector} {`);
  if (start < 0) throw new Error(`no ${selector} in tokens.css`);
  const block = css.slice(start, css.indexOf('}', start));
  return new Map([...block.matchAll(/(--[\w-]+|color-scheme):\s*([^;]+);/g)].map((match) => [match[1] ?? '', match[2] ?? '']));
}

const light = variables(':root');
const dark = variables(":root[data-theme='dark']");

test('dark chosen by the person equals dark wished by the system', () => {
  expect(dark).toEqual(variables(":root:not([data-theme='light'])"));
});

test('dark defines no name that light lacks', () => {
  expect([...dark.keys()].filter((name) => !light.has(name))).toEqual([]);
});

/** Relative luminance and contrast ratio: WCAG 2.2, definitions of those terms. */
function contrast(a: string, b: string): number {
  const luminance = (hex: string) => {
    const [r = 0, g = 0, b = 0] = [1, 3, 5].map((at) => {
      const channel = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
      return channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [high = 0, low = 0] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
}

test.each([
  ['light', light],
  ['dark', dark],
] as const)('text of the %s theme is readable on every ground it stands on (AA)', (_, theme) => {
  const value = (name: string) => theme.get(`--${name}`) ?? light.get(`--${name}`) ?? '';
  const texts = [
    'text',
    'text-soft',
    'text-faint',
    'accent',
    'money',
    'error',
    'warning',
    'good',
    'heat-1',
    'heat-2',
    'heat-3',
    'heat-4',
  ];
  const failures = texts.flatMap((text) =>
    ['page', 'surface', 'sunken', 'hover', 'selected']
      .map((ground) => ({ text, ground, ratio: contrast(value(text), value(ground)) }))
      .filter(({ ratio }) => ratio < 4.5)
      .map(({ ground, ratio }) => `${text} on ${ground}: ${ratio.toFixed(2)}`),
  );
  for (const [text, ground] of [
    ['on-accent', 'accent'],
    ['error', 'error-soft'],
    ['warning', 'warning-soft'],
    ['accent', 'accent-soft'],
    ['text-soft', 'error-soft'],
    ['text-soft', 'warning-soft'],
  ] as const) {
    if (contrast(value(text), value(ground)) < 4.5) failures.push(`${text} on ${ground}`);
  }
  expect(failures).toEqual([]);
});

test.each([
  ['light', light],
  ['dark', dark],
] as const)('series of a chart stand out from the ground in the %s theme (3:1)', (_, theme) => {
  const colours = [...theme].filter(([name]) => name.startsWith('--series-'));
  expect(colours).toHaveLength(12);
  expect(colours.filter(([, colour]) => contrast(colour, theme.get('--surface') ?? '') < 3)).toEqual([]);
});

test('sizes of type and colours come from the tokens alone', () => {
  const folder = new URL('..', import.meta.url);
  const sheets = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.css'));
  expect(sheets.length).toBeGreaterThan(40);
  const own = sheets.flatMap((path) => {
    const text = readFileSync(new URL(path, folder), 'utf8').replace(/\/\*[^]*?\*\//g, '');
    const sizes = [...text.matchAll(/font-size:\s*([^;]+);/g)].filter(([, size = '']) => !/^var\(--type-|^inherit$|em$/.test(size) || /rem$/.test(size)); // prettier-ignore
    const colours = path.endsWith('tokens.css') ? [] : [...text.matchAll(/#[0-9a-f]{3,8}\b|\b(?:rgb|hsl)a?\(/gi)];
    return [...sizes, ...colours].map(([found]) => `${path}: ${found}`);
  });
  expect(own).toEqual([]);
});
