/** The text is checked while nobody types: the server plans it, and what it refuses is marked in the editor. */
import { useEffect, useState } from 'react';

import { ApiError } from '../../api/client';
import { paramsFor, type Param } from './address';
import { parameterNames, statements } from './lex';
import { markOf, type Mark } from './problems';
import { explainSql } from './queries';

const PAUSE_MS = 700;
/** A script of many statements is checked as it is run: one by one. */
const STATEMENTS_MAX = 8;
const QUESTION = /^(select|with|values|explain)\b/i;

type Checked = { readonly text: string; readonly marks: readonly Mark[] };

/** Marks for `text` as it stands; none while they are not known. */
export function useCheck(text: string, params: readonly Param[]): readonly Mark[] {
  const [checked, setChecked] = useState<Checked>({ text: '', marks: [] });
  const values = JSON.stringify(params);
  useEffect(() => {
    const controller = new AbortController();
    const timer = setTimeout(() => {
      check(text, JSON.parse(values) as Param[], controller.signal).then(
        (marks) => {
          setChecked({ text, marks });
        },
        () => {
          // No server, or aborted: then nothing is marked, and running says why.
        },
      );
    }, PAUSE_MS);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [text, values]);
  return checked.text === text ? checked.marks : NONE;
}

const NONE: readonly Mark[] = [];

async function check(text: string, params: readonly Param[], signal: AbortSignal): Promise<Mark[]> {
  const questions = statements(text).filter((each) => QUESTION.test(each.text));
  if (questions.length > STATEMENTS_MAX) return [];
  const marks: Mark[] = [];
  for (const { text: query, from } of questions) {
    try {
      await explainSql(query, paramsFor(parameterNames(query), params), false, signal);
    } catch (error) {
      // Only what is wrong with the text; a server that is busy says nothing about it.
      if (!(error instanceof ApiError) || (error.status !== 400 && error.status !== 404)) throw error;
      const mark = markOf(error, query, from);
      if (mark) marks.push(mark);
    }
  }
  return marks;
}
