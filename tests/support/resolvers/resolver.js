// Asks the c-ares that Node brings along for each NAME/4 or NAME/6, and prints what it says of it in a line.
const { resolve4, resolve6 } = require("dns").promises;
const words = { ENODATA: "NODATA", ENOTFOUND: "NONAME" };
const ask = async () => {
  for (const word of process.argv.slice(2)) {
    const [name, family] = word.split("/");
    const said = (family === "4" ? resolve4(name) : resolve6(name)).then(
      (found) => found.join(" "),
      (error) => words[error.code] ?? error.code,
    );
    console.log(word, await said);
  }
};
ask();
