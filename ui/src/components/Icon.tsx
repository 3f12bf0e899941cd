/** Line icons of one family: 16 px grid, 1.5 px strokes, drawn for this product. Decorative: the name stands in the text or label beside. */

const PATHS = {
  search: 'M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10ZM10.7 10.7 14 14',
  clock: 'M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM8 4.800V8l2.200 1.500',
  'chevron-right': 'm6 3.500 4.500 4.500L6 12.500',
  'chevron-down': 'm3.500 6 4.500 4.500L12.500 6',
  'chevron-up': 'm3.500 10 4.500-4.500 4.500 4.500',
  'arrow-up': 'M8 13V3.500M4 7l4-4 4 4',
  'arrow-down': 'M8 3v9.500M4 9l4 4 4-4',
  'arrow-left': 'M13 8H3.500M7 4 3 8l4 4',
  'arrow-right': 'M3 8h9.500M9 4l4 4-4 4',
  close: 'm4 4 8 8M12 4l-8 8',
  copy: 'M5.500 5.500h7v8h-7zM3 10.500V2.500h7',
  check: 'm3 8.500 3.300 3.300L13 4.500',
  link: 'M6.800 9.200 9.200 6.800M7 4.500l1.600-1.600a3.200 3.200 0 0 1 4.500 4.500L11.500 9M9 11.500l-1.600 1.600a3.200 3.200 0 0 1-4.500-4.500L4.500 7',
  download: 'M8 2.500v7.500M4.800 7 8 10.200 11.200 7M2.500 13.500h11',
  play: 'M4.500 2.800v10.400L13 8z',
  stop: 'M4 4h8v8H4z',
  live: 'M8 9.200a1.200 1.200 0 1 0 0-2.400 1.200 1.200 0 0 0 0 2.400ZM4.900 11.100a4.400 4.400 0 0 1 0-6.200M11.100 4.900a4.400 4.400 0 0 1 0 6.200M3 13a7 7 0 0 1 0-10M13 3a7 7 0 0 1 0 10',
  database:
    'M8 6.500c3 0 5-.9 5-2.200S11 2 8 2 3 3 3 4.300s2 2.200 5 2.200ZM3 4.300v7.400C3 13 5 14 8 14s5-1 5-2.300V4.300M3 8c0 1.300 2 2.300 5 2.300S13 9.300 13 8',
  sun: 'M8 10.800a2.800 2.800 0 1 0 0-5.600 2.800 2.800 0 0 0 0 5.600ZM8 1.500v1.200M8 13.300v1.200M1.500 8h1.200M13.300 8h1.200M3.400 3.400l.9.9M11.700 11.700l.9.9M12.600 3.400l-.9.9M4.300 11.700l-.9.9',
  moon: 'M13.500 9.500A6 6 0 0 1 6.500 2.500a6 6 0 1 0 7 7Z',
  system: 'M2 3h12v8H2zM6 14h4M8 11v3',
  error: 'M8 14.500 1.500 8 8 1.500 14.500 8zM8 5v3.600M8 10.900v.1',
  warning: 'M8 2 1.500 13.500h13zM8 6.500v3.200M8 11.600v.1',
  info: 'M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM8 7.200v3.800M8 5v.1',
  table: 'M2 3h12v10H2zM2 6.500h12M6 6.500V13',
  tree: 'M3 2.500v8.500h4M3 6h4M9.500 6H14M9.500 11H14',
  bars: 'M2 4h6M5 8h7M8 12h6',
  columns: 'M2 3h12v10H2zM8 3v10',
  chat: 'M2 3h12v8H7l-3 2.700V11H2z',
  tool: 'M9.800 6.200a3.200 3.200 0 0 1 4-3.900L11.700 4.400l.3 1.200 1.200.3 2-2.100a3.200 3.200 0 0 1-4.300 3.700L5 13.500a1.600 1.600 0 0 1-2.400-2.300z',
  agent: 'M3 6h10v7H3zM8 6V3M8 3a.8.8 0 1 0 0-1.600A.8.8 0 0 0 8 3ZM6 9v1M10 9v1M1.500 8.500v2M14.500 8.500v2',
  retrieval: 'M3 2h6l3 3v4M3 2v12h4M11 14a2 2 0 1 0 0-4 2 2 0 0 0 0 4ZM12.500 13.500 14 15',
  embeddings: 'M3 3h.1M8 3h.1M13 3h.1M3 8h.1M8 8h.1M13 8h.1M3 13h.1M8 13h.1M13 13h.1',
  guard: 'M8 1.800 13 4v4c0 3-2 5.200-5 6.300C5 13.200 3 11 3 8V4z',
  step: 'M8 10.500a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5Z',
  expand: 'M3 6V3h3M13 6V3h-3M3 10v3h3M13 10v3h-3',
  plus: 'M8 3v10M3 8h10',
  history: 'M2.500 8A5.500 5.500 0 1 0 4.200 4M2.500 2.500v3h3M8 5v3.200l2 1.300',
  user: 'M8 8a2.800 2.800 0 1 0 0-5.600A2.800 2.800 0 0 0 8 8ZM2.800 14c.5-2.700 2.500-4.200 5.200-4.200s4.700 1.500 5.200 4.200',
  session: 'M2 3h9v6H6l-2.500 2V9H2zM7 11.500h3l2.500 2v-2H14v-5',
  pin: 'M5.500 2.500h5M6.300 2.500v4.300L4 9.300h8L9.700 6.800V2.500M8 9.300V14',
  bookmark: 'M4 2h8v12l-4-3-4 3z',
  star: 'm8 1.800 1.900 4 4.300.6-3.100 3 .8 4.300L8 11.600l-3.900 2.100.8-4.300-3.100-3 4.300-.6z',
  command:
    'M6 6H4.300A1.800 1.800 0 1 1 6 4.300zM6 6h4M6 6v4M10 6V4.300A1.800 1.800 0 1 1 11.700 6zM10 6v4M10 10h1.700a1.800 1.800 0 1 1-1.700 1.700zM10 10H6M6 10v1.700A1.800 1.800 0 1 1 4.300 10z',
  trash: 'M2.500 4h11M6 4V2.500h4V4M4 4l.7 9.500h6.600L12 4M6.700 6.700v4M9.300 6.700v4',
  'zoom-out': 'M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10ZM10.700 10.700 14 14M4.800 7h4.400',
  filter: 'M2 3h12L9.500 8.500V13l-3-1.500v-3z',
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg className="icon" width={size} height={size} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} fill="none" stroke="currentColor" strokeWidth="1.5" strokeLinecap="round" strokeLinejoin="round" />
    </svg>
  );
}
