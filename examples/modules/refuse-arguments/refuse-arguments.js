// A policy module: command lines that match a pattern are refused, with a reason.
//
// config: [{ pattern: 'git\b.*\bpush\b.*(--force|\s-f\b)', reason: others have this history }]

// What `configure` leaves for `decide`. Without it `decide` throws, and that is a no.
let rules;

export const decisions = {
  configure(document) {
    const entries = parsed(document);
    if (!Array.isArray(entries)) {
      return [{ path: '', message: 'should be a list of { pattern, reason }' }];
    }
    const problems = entries.flatMap(problemsOf);
    if (problems.length === 0) {
      rules = entries.map(({ pattern, reason }) => ({ pattern, reason, matches: expression(pattern) }));
    }
    return problems;
  },

  decide(request) {
    const lines = request.command ? linesOf(request.command) : [];
    const rule = rules.find(({ matches }) => lines.some((line) => matches.test(line)));
    if (rule === undefined) {
      return { tag: 'allow', val: everything(request) };
    }
    const remedy = 'take the pattern out of the configuration of this module';
    return { tag: 'deny', val: { rule: rule.pattern, reason: rule.reason, remedy } };
  },
};

function parsed(document) {
  try {
    return JSON.parse(document);
  } catch {
    return undefined;
  }
}

function problemsOf(entry, index) {
  const place = (key) => `[${index}]${key}`;
  if (entry === null || typeof entry !== 'object' || Array.isArray(entry)) {
    return [{ path: place(''), message: 'should be { pattern, reason }' }];
  }
  const unknown = Object.keys(entry)
    .filter((key) => key !== 'pattern' && key !== 'reason')
    .map((key) => ({ path: place(`.${key}`), message: 'is neither pattern nor reason' }));
  const missing = ['pattern', 'reason']
    .filter((key) => typeof entry[key] !== 'string' || entry[key] === '')
    .map((key) => ({ path: place(`.${key}`), message: 'should be a text' }));
  try {
    expression(entry.pattern);
  } catch (error) {
    missing.push({ path: place('.pattern'), message: error.message });
  }
  return [...unknown, ...missing];
}

// A dot matches a line feed too: an argument may contain one, and must not hide what follows.
function expression(pattern) {
  return new RegExp(pattern, 's');
}

// The command line by every name that the program goes by, so that neither a path nor a link changes what matches.
function linesOf({ program, arguments: words }) {
  const names = [program.requested, program.path, ...program.aliases]
    .filter((name) => name !== undefined)
    .map((name) => name.split('/').at(-1));
  return [...new Set(names)].map((name) => [name, ...words].join(' '));
}

// A yes that leaves all limits to the policy file.
function everything(request) {
  return {
    keys: request.keys.map((key) => key.name),
    timeoutMs: 2n ** 64n - 1n,
    outputBytes: 2n ** 64n - 1n,
    network: 'allow',
    workdir: 'project',
    expandArguments: true,
    rule: '',
  };
}
