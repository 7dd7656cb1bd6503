/** An import of node:fs costs a Bun process 0.6 MB or more at its start: idle instances and balancers do without it. */
export const fs = () => process.getBuiltinModule("node:fs");
