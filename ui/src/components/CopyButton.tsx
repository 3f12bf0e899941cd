/** Copies a text and says so for a moment. */
import { useEffect, useState } from 'react';

import { IconButton } from './Button';
import type { IconName } from './Icon';

type Props = { text: string | (() => string); label: string; icon?: IconName };

export function CopyButton({ text, label, icon = 'copy' }: Props) {
  const [state, setState] = useState<'idle' | 'copied' | 'refused'>('idle');
  useEffect(() => {
    if (state === 'idle') return;
    const timer = setTimeout(() => {
      setState('idle');
    }, 1500);
    return () => {
      clearTimeout(timer);
    };
  }, [state]);
  const copy = () => {
    copyText(typeof text === 'string' ? text : text()).then(
      () => {
        setState('copied');
      },
      () => {
        setState('refused');
      },
    );
  };
  const said = { idle: label, copied: 'Copied', refused: 'The browser refused to copy' }[state];
  return <IconButton icon={state === 'copied' ? 'check' : icon} label={said} onClick={copy} />;
}

/** Copies by the clipboard API, which exists on secure origins only, else through a selection. */
export async function copyText(text: string): Promise<void> {
  if (window.isSecureContext) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const field = document.createElement('textarea');
  field.value = text;
  field.style.position = 'fixed';
  field.style.opacity = '0';
  document.body.append(field);
  field.select();
  const copied = document.execCommand('copy');
  field.remove();
  if (!copied) throw new Error('the browser refused to copy');
}
