/** Chooses light, dark, or what the system says. */
import { DropdownMenu } from 'radix-ui';

import { setTheme, useTheme, type ThemeChoice } from '../lib/theme';
import { Icon, type IconName } from './Icon';
import './menu.css';

const CHOICES: readonly { choice: ThemeChoice; label: string; icon: IconName }[] = [
  { choice: 'system', label: 'As the system', icon: 'system' },
  { choice: 'light', label: 'Light', icon: 'sun' },
  { choice: 'dark', label: 'Dark', icon: 'moon' },
];

export function ThemeMenu() {
  const { choice, resolved } = useTheme();
  return (
    <DropdownMenu.Root>
      <DropdownMenu.Trigger className="icon-button" aria-label="Theme">
        <Icon name={resolved === 'dark' ? 'moon' : 'sun'} />
      </DropdownMenu.Trigger>
      <DropdownMenu.Portal>
        <DropdownMenu.Content className="menu" align="end" sideOffset={6} aria-label="Theme">
          <DropdownMenu.RadioGroup
            value={choice}
            onValueChange={(next) => {
              const chosen = CHOICES.find((each) => each.choice === next);
              if (chosen) setTheme(chosen.choice);
            }}
          >
            {CHOICES.map((each) => (
              <DropdownMenu.RadioItem key={each.choice} value={each.choice} className="menu__item">
                <Icon name={each.icon} size={14} />
                {each.label}
                <DropdownMenu.ItemIndicator className="menu__check">
                  <Icon name="check" size={14} />
                </DropdownMenu.ItemIndicator>
              </DropdownMenu.RadioItem>
            ))}
          </DropdownMenu.RadioGroup>
        </DropdownMenu.Content>
      </DropdownMenu.Portal>
    </DropdownMenu.Root>
  );
}
