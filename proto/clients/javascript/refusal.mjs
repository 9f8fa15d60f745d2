// Why something is not taken: the rule of PROTOCOL.md, where, what was expected and what was found.

/** A rule that is broken. `rule` is a clause and the number of its rule: `P-4.4.5`. */
export class Refusal extends Error {
  /** Place of the operation in its batch, if it is one's. @type {number | undefined} */
  operation;

  /**
   * @param {string} rule
   * @param {string} field
   * @param {unknown} expected
   * @param {unknown} found
   */
  constructor(rule, field, expected, found) {
    super(`${field}: expected ${expected}, found ${found} (${rule})`);
    this.name = "Refusal";
    this.rule = rule;
    this.field = field;
    this.expected = expected;
    this.found = found;
  }

  /**
   * The same, of an operation of a batch.
   * @param {number} index
   */
  ofOperation(index) {
    const refusal = new Refusal(this.rule, `operations[${index}].${this.field}`, this.expected, this.found);
    return Object.assign(refusal, { operation: index });
  }
}

/**
 * Throws unless the condition holds.
 * @param {boolean} condition
 * @param {string} rule
 * @param {string} field
 * @param {unknown} expected
 * @param {unknown} found
 */
export function insist(condition, rule, field, expected, found) {
  if (!condition) throw new Refusal(rule, field, expected, found);
}
