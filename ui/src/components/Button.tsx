/** Buttons and links that look like them. An icon alone needs a label, by type. */
import { Tooltip } from 'radix-ui';
import type { AnchorHTMLAttributes, ButtonHTMLAttributes, ReactNode } from 'react';

import './button.css';
import { Icon, type IconName } from './Icon';

type Look = 'plain' | 'primary' | 'quiet';

type ButtonProps = ButtonHTMLAttributes<HTMLButtonElement> & { look?: Look; icon?: IconName; children: ReactNode };

export function Button({ look = 'plain', icon, children, className, ...rest }: ButtonProps) {
  return (
    <button type="button" className={`button button--${look} ${className ?? ''}`} {...rest}>
      {icon && <Icon name={icon} size={14} />}
      {children}
    </button>
  );
}

type LinkButtonProps = AnchorHTMLAttributes<HTMLAnchorElement> & { icon?: IconName; children: ReactNode };

/** A real link (open in a new tab, copy address) with the look of a button. */
export function LinkButton({ icon, children, className, ...rest }: LinkButtonProps) {
  return (
    <a className={`button button--plain ${className ?? ''}`} {...rest}>
      {icon && <Icon name={icon} size={14} />}
      {children}
    </a>
  );
}

type IconButtonProps = Omit<ButtonHTMLAttributes<HTMLButtonElement>, 'aria-label' | 'children'> & {
  icon: IconName;
  label: string;
};

export function IconButton({ icon, label, className, ...rest }: IconButtonProps) {
  return (
    <Hint text={label}>
      <button type="button" aria-label={label} className={`icon-button ${className ?? ''}`} {...rest}>
        <Icon name={icon} />
      </button>
    </Hint>
  );
}

/** A short explanation on hover and focus; never the only place of a meaning. */
export function Hint({ text, children }: { text: string; children: ReactNode }) {
  return (
    <Tooltip.Root>
      <Tooltip.Trigger asChild>{children}</Tooltip.Trigger>
      <Tooltip.Portal>
        <Tooltip.Content className="hint" sideOffset={5} collisionPadding={8}>
          {text}
        </Tooltip.Content>
      </Tooltip.Portal>
    </Tooltip.Root>
  );
}
