// Asks the c-ares that Node brings along for each NAME/4, NAME/6 or, for both, NAME/0, and prints what it says of it in a line.
const { resolve4, resolve6 } = require("dns").promises;
const words = { ENODATA: "NODATA", ENOTFOUND: "NONAME" };
const ask = async () => {
  for (const word of process.argv.slice(2)) {
    const [name, family] = word.split("/");
    const kinds = { 4: [resolve4], 6: [resolve6], 0: [resolve4, resolve6] }[family];
    const answers = await Promise.allSettled(kinds.map((resolve) => resolve(name)));
    const found = answers.flatMap((answer) => answer.value ?? []);
    const { code } = answers[0].reason ?? {};
    console.log(word, found.length ? found.join(" ") : (words[code] ?? code));
  }
};
ask();
