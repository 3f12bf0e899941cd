/** How a model gets a price: the lines of the configuration, the command for what is past. Pure. */

function toml(text: string): string {
  return JSON.stringify(text);
}

/** Lines for the configuration file. The rates are left for the person: a guess would be taken for a fact. */
export function priceSnippet(provider: string | null, model: string | null): string {
  return [
    '[[prices]]',
    ...(provider === null ? [] : [`provider = ${toml(provider)}`]),
    `model = ${toml(model ?? '*')}`,
    'input_usd_per_million = ""',
    'output_usd_per_million = ""',
  ].join('\n');
}

/** Commands that price again what was stored before. */
export function repriceCommand(lastSeen: string | null, nowMs: number): string {
  const days = lastSeen === null ? 30 : Math.max(30, Math.ceil((nowMs - Date.parse(lastSeen)) / 864e5) + 1);
  return `assay reprice --from -${days}d            # what would change\nassay reprice --from -${days}d --apply    # change it`;
}
