steps.push("more");
