// The form of the policy: what the next translation asks for, of the options that the server offers.

/** Fills a form with a field for each option; what stays empty is as the server has it. */
export function addFields(form, options) {
  for (const { name, help, metavar, choices } of options) {
    const field = document.createElement(choices ? "select" : "input");
    Object.assign(field, { name, id: `option-${name}` });
    if (choices) field.append(...["", ...choices].map((choice) => new Option(choice)));
    else Object.assign(field, { placeholder: metavar, size: 4, autocomplete: "off" });
    const label = document.createElement("label");
    label.htmlFor = field.id;
    label.textContent = name.replaceAll("_", " ");
    const text = document.createElement("small");
    text.textContent = help;
    form.append(label, field, text);
  }
}

/** The options by name whose fields of a form are filled; undefined where none is. */
export function asked(form) {
  const filled = [...form.elements].filter(({ value }) => value.trim());
  return filled.length ? Object.fromEntries(filled.map(({ name, value }) => [name, value.trim()])) : undefined;
}
