/** How the list looks: which columns in which order, pinned or not, the height of rows, and how times read. */
import { Popover } from 'radix-ui';
import { useRef, useState, type DragEvent } from 'react';

import { Button, IconButton } from '../../components/Button';
import type { Density, TableColumn } from '../../components/list-table/ListTable';
import { Icon } from '../../components/Icon';
import '../../components/menu.css';
import { SegmentedChoice } from '../../components/SegmentedChoice';
import { setClock, useClock, type TimeStyle, type Zone } from '../../lib/clock';
import { defaultLayout, formatLayout, moveColumn, pinColumn, shiftColumn, toggleColumn, type Layout } from '../../lib/columns';
import type { Row } from './row';
import './view-menu.css';

type Props = {
  columns: readonly TableColumn<Row>[];
  layout: Layout;
  onLayout: (layout: Layout) => void;
  density: Density;
  onDensity: (density: Density) => void;
};

const DENSITIES: readonly { value: Density; label: string }[] = [
  { value: 'compact', label: 'Compact' },
  { value: 'normal', label: 'Normal' },
  { value: 'roomy', label: 'Roomy' },
];
const STYLES: readonly { value: TimeStyle; label: string }[] = [
  { value: 'moment', label: '14:05:03' },
  { value: 'ago', label: '5 min ago' },
];
const ZONES: readonly { value: Zone; label: string }[] = [
  { value: 'local', label: 'Local' },
  { value: 'utc', label: 'UTC' },
];

export function ViewMenu({ columns, layout, onLayout, density, onDensity }: Props) {
  const clock = useClock();
  return (
    <Popover.Root>
      <Popover.Trigger className="button button--plain" aria-label="Columns and view">
        <Icon name="columns" size={14} />
        <span className="view-menu__word">View</span>
      </Popover.Trigger>
      <Popover.Portal>
        <Popover.Content
          className="popover view-menu"
          align="end"
          sideOffset={6}
          collisionPadding={8}
          aria-label="Columns and view"
        >
          <SegmentedChoice label="Rows" options={DENSITIES} value={density} onChange={onDensity} />
          <SegmentedChoice
            label="Times"
            options={STYLES}
            value={clock.style}
            onChange={(style) => {
              setClock({ style });
            }}
          />
          <SegmentedChoice
            label="Zone"
            options={
              ZONES.some((zone) => zone.value === clock.zone) ? ZONES : [...ZONES, { value: clock.zone, label: clock.zone }]
            }
            value={clock.zone}
            onChange={(zone) => {
              setClock({ zone });
            }}
          />
          <ColumnList columns={columns} layout={layout} onLayout={onLayout} />
        </Popover.Content>
      </Popover.Portal>
    </Popover.Root>
  );
}

function ColumnList({ columns, layout, onLayout }: Pick<Props, 'columns' | 'layout' | 'onLayout'>) {
  const dragged = useRef<string | null>(null);
  const [over, setOver] = useState<string | null>(null);
  const title = (id: string) => columns.find((column) => column.id === id)?.title ?? id;
  const hidden = columns.filter((column) => !layout.some((each) => each.id === column.id));
  const drop = (event: DragEvent, before: string) => {
    event.preventDefault();
    if (dragged.current !== null) onLayout(moveColumn(layout, dragged.current, before));
    dragged.current = null;
    setOver(null);
  };
  return (
    <div className="view-menu__columns">
      <h3 className="view-menu__heading">
        Columns
        {formatLayout(layout, columns) !== null && (
          <Button
            look="quiet"
            className="view-menu__reset"
            onClick={() => {
              onLayout(defaultLayout(columns));
            }}
          >
            Reset
          </Button>
        )}
      </h3>
      <ul aria-label="Shown columns">
        {layout.map(({ id, pinned }, at) => (
          <li
            key={id}
            draggable
            className={`view-menu__column ${over === id ? 'view-menu__column--over' : ''}`}
            onDragStart={(event) => {
              dragged.current = id;
              event.dataTransfer.effectAllowed = 'move';
            }}
            onDragOver={(event) => {
              event.preventDefault();
              setOver(id);
            }}
            onDragEnd={() => {
              setOver(null);
            }}
            onDrop={(event) => {
              drop(event, id);
            }}
          >
            <label className="view-menu__label">
              <input
                type="checkbox"
                checked
                disabled={layout.length === 1}
                onChange={() => {
                  onLayout(toggleColumn(layout, id, columns));
                }}
              />
              <span className="truncate">{title(id)}</span>
            </label>
            <IconButton
              icon="chevron-up"
              label={`Move ${title(id)} up`}
              disabled={at === 0 || layout[at - 1]?.pinned !== pinned}
              onClick={() => {
                onLayout(shiftColumn(layout, id, -1));
              }}
            />
            <IconButton
              icon="chevron-down"
              label={`Move ${title(id)} down`}
              disabled={layout[at + 1]?.pinned !== pinned}
              onClick={() => {
                onLayout(shiftColumn(layout, id, 1));
              }}
            />
            <IconButton
              icon="pin"
              label={`Pin ${title(id)} to the left`}
              aria-pressed={pinned}
              onClick={() => {
                onLayout(pinColumn(layout, id, !pinned));
              }}
            />
          </li>
        ))}
      </ul>
      {hidden.length > 0 && (
        <ul aria-label="Hidden columns" className="view-menu__hidden">
          {hidden.map((column) => (
            <li key={column.id} className="view-menu__column">
              <label className="view-menu__label">
                <input
                  type="checkbox"
                  checked={false}
                  onChange={() => {
                    onLayout(toggleColumn(layout, column.id, columns));
                  }}
                />
                <span className="truncate">{column.title}</span>
              </label>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
