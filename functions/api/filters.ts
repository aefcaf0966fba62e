// PostgREST's query language, written so that no value of a caller can become a part of it.
//
// After `eq.` and its like a value reaches to the end of its parameter, so it needs encoding alone, which URLSearchParams
// does. Inside `or=(…)` and `in.(…)` it is quoted.

export type Operator = "eq" | "gt" | "gte" | "lt" | "lte";

export class Filters {
  private readonly parameters = new URLSearchParams();

  constructor(select: string) {
    this.parameters.set("select", select);
  }

  where(column: string, operator: Operator, value: string): this {
    this.parameters.append(column, `${operator}.${value}`);
    return this;
  }

  whereNull(column: string, isNull = true): this {
    this.parameters.append(column, isNull ? "is.null" : "not.is.null");
    return this;
  }

  whereIn(column: string, values: string[]): this {
    this.parameters.append(column, `in.(${values.map(quoted).join(",")})`);
    return this;
  }

  /** Rows after a place in the order of two columns, the second of which tells equal ones apart. */
  after([first, second]: [string, string], direction: Direction, [value, tie]: [string, string]): this {
    const beyond = direction === "asc" ? "gt" : "lt";
    // said twice, because the first is what an index can begin at
    this.where(first, `${beyond}e` as Operator, value);
    this.parameters.append("or", `(${first}.${beyond}.${quoted(value)},${second}.${beyond}.${quoted(tie)})`);
    return this;
  }

  order(columns: [string, string], direction: Direction): this {
    this.parameters.set("order", columns.map((column) => `${column}.${direction}`).join(","));
    return this;
  }

  limit(rows: number): this {
    this.parameters.set("limit", String(rows));
    return this;
  }

  set(name: string, value: string): this {
    this.parameters.set(name, value);
    return this;
  }

  get query(): URLSearchParams {
    return this.parameters;
  }
}

export type Direction = "asc" | "desc";

function quoted(value: string): string {
  return `"${value.replace(/["\\]/g, "\\$&")}"`;
}
