import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { decisions } from './refuse-arguments.js';

const RULES = [
  { pattern: '^git\\b.*\\bpush\\b.*(--force|\\s-f\\b)', reason: 'others have this history' },
  { pattern: '^terraform destroy', reason: 'nothing is destroyed from here' },
];

function decide(words, { path = `/usr/bin/${words[0]}`, aliases = [] } = {}) {
  const [requested, ...rest] = words;
  const command = { program: { requested, path, aliases }, arguments: rest };
  return decisions.decide({ purpose: 'inject', agent: 'test', keys: [{ name: 'a/b', named: true, tags: [] }], command });
}

function paths(document) {
  return decisions.configure(JSON.stringify(document)).map((problem) => problem.path);
}

test('without a configuration there is no yes', async () => {
  const { decisions: fresh } = await import('./refuse-arguments.js?fresh');
  assert.throws(() => fresh.decide({ purpose: 'masked', keys: [] }));
});

beforeEach(() => assert.deepEqual(paths(RULES), []));

test('a command that matches is refused with the reason', () => {
  const { tag, val } = decide(['git', 'push', 'origin', '--force']);
  assert.deepEqual([tag, val.rule, val.reason], ['deny', RULES[0].pattern, RULES[0].reason]);
  assert.equal(decide(['terraform', 'destroy', '-auto-approve']).tag, 'deny');
});

test('a command that does not match keeps all its keys', () => {
  const { tag, val } = decide(['git', 'push', 'origin', 'fix-f']);
  assert.deepEqual([tag, val.keys], ['allow', ['a/b']]);
  assert.equal(decisions.decide({ purpose: 'masked', keys: [] }).tag, 'allow');
});

test('neither a path, a link nor a line feed gets around a pattern', () => {
  assert.equal(decide(['/opt/bin/git', 'push', '-f']).tag, 'deny');
  assert.equal(decide(['g', 'push', '-f'], { path: '/usr/bin/git' }).tag, 'deny');
  assert.equal(decide(['g', 'push', '-f'], { path: undefined, aliases: ['/usr/lib/git'] }).tag, 'deny');
  assert.equal(decide(['git', 'push', '\n', '--force']).tag, 'deny');
});

test('all that is wrong is named', () => {
  assert.deepEqual(decisions.configure('null')[0].path, '');
  assert.deepEqual(paths([RULES[0], 7, { pattern: '(', reason: '' }, { ...RULES[0], flags: 'i' }]), [
    '[1]',
    '[2].reason',
    '[2].pattern',
    '[3].flags',
  ]);
});
