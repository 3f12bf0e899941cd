/** `/users/$userId?from=…&to=…`: one user over time. */
import { createRoute, useNavigate, useRouter } from '@tanstack/react-router';
import { useCallback, useMemo } from 'react';

import { EmbeddedList } from '../features/lists/EmbeddedList';
import { KIND_INFO } from '../features/lists/kinds';
import { listState, readListSearch, scopeSearch } from '../features/lists/state';
import { ofUser } from '../features/sessions/queries';
import { UserPage } from '../features/sessions/UserPage';
import { LIST_PATHS, useLinks } from './links';
import { rootRoute } from './root';

/** The range, and how the list of sessions is sorted and laid out. */
type UserSearch = Partial<Record<'from' | 'to' | 'sort' | 'order' | 'cols', string>>;

export const userRoute = createRoute({
  getParentRoute: () => rootRoute,
  path: '/users/$userId',
  validateSearch: (search: Record<string, unknown>): UserSearch => {
    const { from, to, sort, order, cols } = readListSearch(search);
    return {
      ...(from === undefined ? {} : { from }),
      ...(to === undefined ? {} : { to }),
      ...(sort === undefined ? {} : { sort }),
      ...(order === undefined ? {} : { order }),
      ...(cols === undefined ? {} : { cols }),
    };
  },
  component: User,
});

function User() {
  const { userId } = userRoute.useParams();
  const search = userRoute.useSearch();
  const { from, to, sort, order, cols } = listState(search);
  const navigate = useNavigate({ from: '/users/$userId' });
  const router = useRouter();
  const scope = useMemo(() => ({ from, to, q: ofUser(userId) }), [from, to, userId]);
  const links = useLinks(scope);
  const go = useCallback(
    (href: string) => {
      router.history.push(href);
    },
    [router],
  );
  const list = (title: string, path: (typeof LIST_PATHS)['traces' | 'calls' | 'errors']) => ({
    title,
    href: router.buildLocation({ to: path, search: scopeSearch(scope) }).href,
  });
  return (
    <UserPage
      key={userId}
      userId={userId}
      range={scope}
      onRange={(range) => void navigate({ search: { ...search, ...range } })}
      usersHref={router.buildLocation({ to: LIST_PATHS.users, search: scopeSearch({ from, to, q: '' }) }).href}
      listHrefs={[list('Traces', LIST_PATHS.traces), list('LLM calls', LIST_PATHS.calls), list('Errors', LIST_PATHS.errors)]}
      sessions={
        <EmbeddedList
          info={KIND_INFO.sessions}
          scope={scope}
          links={links}
          sort={sort === null ? null : { by: sort, order }}
          cols={cols}
          onCols={(next) => {
            const rest = { ...search };
            delete rest.cols;
            void navigate({ search: next === null ? rest : { ...rest, cols: next }, replace: true });
          }}
          onSort={(next) => void navigate({ search: { ...search, sort: next.by, order: next.order } })}
          onGo={go}
        />
      }
    />
  );
}
