/** What the scanner hands to the parser; libyaml's tokens, those of several documents and of directives left out. */
export type TokenType =
  | "stream-end"
  | "document-end"
  | "block-sequence-start"
  | "block-mapping-start"
  | "block-end"
  | "flow-sequence-start"
  | "flow-sequence-end"
  | "flow-mapping-start"
  | "flow-mapping-end"
  | "block-entry"
  | "flow-entry"
  | "key"
  | "value"
  | "alias"
  | "anchor"
  | "tag"
  | "scalar";

export interface Token {
  readonly type: TokenType;
  readonly at: number;
  /** The name of an anchor or alias, the whole tag, the text of a scalar. */
  readonly text: string;
  /** A scalar without quotes and not a block: the only kind whose text decides its type. */
  readonly plain: boolean;
}
