import js from '@eslint/js';
import globals from 'globals';
import jsxA11y from 'eslint-plugin-jsx-a11y';
import reactHooks from 'eslint-plugin-react-hooks';
import tseslint from 'typescript-eslint';

/** Folders that a folder must not import: imports point from routes to features to components to lib, never upwards or sideways. */
const forbid = (...groups) => ({
  'no-restricted-imports': [
    'error',
    { patterns: [{ regex: groups.join('|'), message: 'imports point downwards; see README.md' }] },
  ],
});

const features = ['ingest', 'lists', 'live', 'sessions', 'sql', 'trace'];

export default tseslint.config(
  { ignores: ['dist', 'src/api/generated', 'test-results', 'playwright-report'] },
  js.configs.recommended,
  tseslint.configs.strict,
  tseslint.configs.stylistic,
  jsxA11y.flatConfigs.recommended,
  {
    plugins: { 'react-hooks': reactHooks },
    languageOptions: { globals: { ...globals.browser, ...globals.node } },
    rules: {
      'react-hooks/rules-of-hooks': 'error',
      'react-hooks/exhaustive-deps': 'error',
      '@typescript-eslint/consistent-type-definitions': 'off',
      // Lists, grids and trees take the keyboard at their container, as the ARIA practices ask for with `aria-activedescendant`.
      'jsx-a11y/no-noninteractive-tabindex': [
        'error',
        { roles: ['tabpanel', 'grid', 'tree', 'region', 'group', 'table', 'separator'] },
      ],
      'jsx-a11y/click-events-have-key-events': 'off',
      'jsx-a11y/interactive-supports-focus': 'off',
      'jsx-a11y/no-noninteractive-element-interactions': 'off',
      'jsx-a11y/no-static-element-interactions': 'off',
    },
  },
  { files: ['src/lib/**'], rules: forbid('/components/', '/features/', '/routes/', '/api/') },
  { files: ['src/components/**'], rules: forbid('/features/', '/routes/', '/api/', '^@tanstack/react-(router|query)') },
  ...features.map((name) => ({
    files: [`src/features/${name}/**`],
    rules: forbid('/routes/', ...features.filter((other) => other !== name).map((other) => `\\.\\./${other}/`)),
  })),
);
