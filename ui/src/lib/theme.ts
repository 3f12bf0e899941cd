/** Light, dark, or as the system says: one attribute on the document, kept in this browser. A link can ask for one while its page is open. */
import { useSyncExternalStore } from 'react';

export type ThemeChoice = 'system' | 'light' | 'dark';

const KEY = 'assay.theme';
const listeners = new Set<() => void>();
const systemDark = window.matchMedia('(prefers-color-scheme: dark)');
systemDark.addEventListener('change', announce);

function announce() {
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function choice(): ThemeChoice {
  const chosen = document.documentElement.dataset['theme'];
  return chosen === 'light' || chosen === 'dark' ? chosen : 'system';
}

function resolved(): 'light' | 'dark' {
  const chosen = choice();
  if (chosen !== 'system') return chosen;
  return systemDark.matches ? 'dark' : 'light';
}

/** As a link wants it, for as long as this page is open. */
export function showTheme(next: ThemeChoice): void {
  if (next === 'system') delete document.documentElement.dataset['theme'];
  else document.documentElement.dataset['theme'] = next;
  announce();
}

/** As the person wants it from now on. */
export function setTheme(next: ThemeChoice): void {
  try {
    if (next === 'system') localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, next);
  } catch {
    // Storage is forbidden: the choice holds until reload.
  }
  showTheme(next);
}

/** What the person chose, and what it comes to now. */
export function useTheme(): { choice: ThemeChoice; resolved: 'light' | 'dark' } {
  return { choice: useSyncExternalStore(subscribe, choice), resolved: useSyncExternalStore(subscribe, resolved) };
}
