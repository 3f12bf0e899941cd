/** Values for the parameters that a query names (`$user`, `$1`). They are bound by the server, never written into the text. */
import { PARAM_TYPES, type Param, type ParamType } from './address';

type Props = { params: readonly Param[]; onChange: (params: Param[]) => void; onRun: () => void };

export function ParamBar({ params, onChange, onRun }: Props) {
  if (params.length === 0) return null;
  const set = (name: string, values: Partial<Param>) => {
    onChange(params.map((param) => (param.name === name ? { ...param, ...values } : param)));
  };
  return (
    <form
      className="sql-page__params"
      aria-label="Parameters"
      onSubmit={(event) => {
        event.preventDefault();
        onRun();
      }}
    >
      {params.map((param) => (
        <span key={param.name} className="labelled">
          <label htmlFor={`param-${param.name}`} className="code">
            ${param.name}
          </label>
          <input
            id={`param-${param.name}`}
            value={param.value}
            spellCheck={false}
            inputMode={param.type === 'number' ? 'decimal' : 'text'}
            placeholder={param.type === 'text' ? 'text' : param.type === 'number' ? 'NULL' : 'true or false'}
            onChange={(event) => {
              set(param.name, { value: event.target.value });
            }}
          />
          <select
            aria-label={`Type of $${param.name}`}
            value={param.type}
            onChange={(event) => {
              set(param.name, { type: event.target.value as ParamType });
            }}
          >
            {PARAM_TYPES.map((type) => (
              <option key={type}>{type}</option>
            ))}
          </select>
        </span>
      ))}
      {/* Enter in a field runs the query; browsers send forms of several fields only where there is a button. */}
      <button type="submit" className="visually-hidden" tabIndex={-1}>
        Run with these values
      </button>
    </form>
  );
}
