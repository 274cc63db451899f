// Problem is an error that the client caused, with the status to answer and,
// for a rejected body, what is wrong by field.
export class Problem extends Error {
  constructor(status, detail, errors) {
    super(detail);
    this.status = status;
    this.errors = errors;
  }
}
