/** What the keyboard can do, shown by `?`. */
import { Dialog } from 'radix-ui';

import { Icon } from '../components/Icon';
import './shortcut-help.css';

const SHORTCUTS: readonly { where: string; keys: readonly (readonly [string, string])[] }[] = [
  {
    where: 'Everywhere',
    keys: [
      ['Ctrl K  ⌘ K', 'commands: pages, actions, a trace by its id'],
      ['?', 'this list'],
      ['Esc', 'close what is open'],
    ],
  },
  {
    where: 'Lists',
    keys: [
      ['/', 'search'],
      ['j k  ↓ ↑', 'next, previous row'],
      ['Space', 'peek at the row'],
      ['Enter', 'open the row'],
      ['.', 'show what has arrived (live)'],
      ['Alt ← →', 'on a header: move the column'],
      ['← →', 'on the edge of a header: narrower, wider'],
      ['Shift ← →  Enter', 'on a strip: choose a time, narrow to it'],
    ],
  },
  {
    where: 'A trace',
    keys: [
      ['j k  ↓ ↑', 'next, previous span'],
      ['← →', 'fold, unfold'],
      ['n  N', 'next, previous match'],
      ['+ − 0', 'zoom the timeline'],
      ['f', 'fit the span'],
      ['[ ]', 'pan it'],
    ],
  },
  {
    where: 'SQL',
    keys: [
      ['Ctrl Enter  ⌘ Enter', 'run the query'],
      ['Shift Alt F', 'format it'],
      ['Ctrl S  ⌘ S', 'save it'],
      ['Shift ↑ ↓ ← →', 'in a result: choose cells'],
      ['Ctrl C  ⌘ C', 'copy what is chosen'],
      ['Enter', 'open the cell, or sort by the header'],
      ['Alt ← →', 'narrower, wider column'],
    ],
  },
];

export function ShortcutHelp({ open, onOpenChange }: { open: boolean; onOpenChange: (open: boolean) => void }) {
  return (
    <Dialog.Root open={open} onOpenChange={onOpenChange}>
      <Dialog.Portal>
        <Dialog.Overlay className="command__overlay" />
        <Dialog.Content className="shortcuts" aria-describedby={undefined}>
          <header className="shortcuts__head">
            <Dialog.Title>Keyboard</Dialog.Title>
            <Dialog.Close asChild>
              {/* Without a hint: it would open with the focus, and Escape would close it first. */}
              <button type="button" className="icon-button" aria-label="Close">
                <Icon name="close" />
              </button>
            </Dialog.Close>
          </header>
          <div className="shortcuts__groups">
            {SHORTCUTS.map((group) => (
              <section key={group.where}>
                <h3 className="shortcuts__where">{group.where}</h3>
                <dl className="shortcuts__keys">
                  {group.keys.map(([keys, what]) => (
                    <div key={keys}>
                      <dt>
                        {keys.split('  ').map((key) => (
                          <kbd key={key} className="command__key">
                            {key}
                          </kbd>
                        ))}
                      </dt>
                      <dd>{what}</dd>
                    </div>
                  ))}
                </dl>
              </section>
            ))}
          </div>
        </Dialog.Content>
      </Dialog.Portal>
    </Dialog.Root>
  );
}
