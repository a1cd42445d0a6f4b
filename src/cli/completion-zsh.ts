import { type CompletionFlag, type CompletionNode, aliasesOf, valueWordsOf } from "./completion-model.ts";

// Inside single quotes of zsh, and inside _describe's word:description form.
const inQuotes = (text: string): string => text.replaceAll("'", "'\\''");
const entry = (word: string, describe: string): string => `'${inQuotes(word.replaceAll(":", "\\:"))}:${inQuotes(describe)}'`;

function valueAction({ choices, completes }: Pick<CompletionFlag, "choices" | "completes">): string {
  if (choices.length > 0) return `compadd -- ${choices.map((choice) => `'${inQuotes(choice)}'`).join(" ")}`;
  switch (completes) {
    case "file":
      return "_files";
    case "dir":
      return "_files -/";
    case "agent":
    case "event":
    case "context":
      return `_transporter_asked ${completes}`;
    case undefined:
      return ":";
  }
}

/** A completion script for zsh's own completion system. */
export function zshScript(nodes: readonly CompletionNode[]): string {
  const walk = [
    ...aliasesOf(nodes).map(([from, to]) => `      '${from}') where='${to}' ;;`),
    ...nodes.filter((node) => node.path !== "").map((node) => `      '${node.path}') where='${node.path}' ;;`),
  ];
  const valueFlags = nodes.flatMap((node) => {
    const words = valueWordsOf(node);
    return words.length === 0 ? [] : [`    '${node.path}') case $1 in ${words.join("|")}) return 0 ;; esac ;;`];
  });
  const values = nodes.flatMap((node) =>
    node.flags
      .filter((flag) => flag.takesValue)
      .map(
        (flag) =>
          `      '${node.path} --${flag.name}'${flag.short === undefined ? "" : `|'${node.path} -${flag.short}'`}) ${valueAction(flag)} ;;`,
      ),
  );
  const offers = nodes.map((node) => {
    const flags = node.flags.map((flag) => entry(`--${flag.name}`, flag.describe));
    const children = node.children.flatMap((child) => child.names.map((name) => entry(name, child.describe)));
    const rest =
      node.choices.length > 0
        ? valueAction({ choices: node.choices, completes: undefined })
        : valueAction({ choices: [], completes: node.completes });
    return `    '${node.path}')
      if [[ $word == -* ]]; then
        offers=(${flags.join(" ")})
        _describe -t flags flag offers
      else
        offers=(${children.join(" ")})
        (( $#offers )) && _describe -t commands command offers
        ${rest}
      fi
      ;;`;
  });
  return `#compdef transporter
# zsh completion for transporter. Load it with: source <(transporter completion zsh)

_transporter_asked() {
  local -a names
  case $1 in
    agent) names=("\${(@f)$(transporter get agents -o name 2>/dev/null)}") ;;
    event) names=("\${(@f)$(transporter get events -o name 2>/dev/null)}") ;;
    context) names=("\${(@f)$(transporter context list -o name 2>/dev/null)}") ;;
  esac
  names=("\${(@)names#*/}")
  compadd -a names
}

_transporter_takes_value() {
  case $where in
${valueFlags.join("\n")}
  esac
  return 1
}

_transporter() {
  local where='' flag='' word
  local -i index=2
  local -a offers
  while (( index < CURRENT )); do
    word=\${words[index]}
    flag=''
    if [[ $word == -*=* ]]; then :
    elif [[ $word == -* ]]; then
      if _transporter_takes_value "$word"; then flag=$word; (( index++ )); fi
    else
      case "\${where:+$where }$word" in
${walk.join("\n")}
      esac
    fi
    (( index++ ))
  done
  word=\${words[CURRENT]}
  if [[ $word == --*=* ]]; then
    flag=\${word%%=*}
    compset -P '*='
  elif (( index <= CURRENT )); then
    flag=''
  fi
  if [[ -n $flag ]]; then
    case "$where $flag" in
${values.join("\n")}
    esac
    return 0
  fi
  case $where in
${offers.join("\n")}
  esac
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _transporter "$@"
else
  compdef _transporter transporter
fi
`;
}
