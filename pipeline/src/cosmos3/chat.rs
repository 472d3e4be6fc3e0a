//! The chat that a prompt is put into before it is tokenized.
//!
//! A checkpoint brings a template of it in the Jinja language, as Hugging Face's tokenizers have them. It is rendered as
//! their `apply_chat_template` renders it, so that nothing is assumed of what it writes. Without one it is Qwen's chat.

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value, context};
use minijinja_contrib::pycompat::unknown_method_callback;

/// Begins and ends a turn.
pub(super) const TURN_START: &str = "<|im_start|>";
pub(super) const TURN_END: &str = "<|im_end|>";

/// Instructions of a template at most. Qwen's own take some hundreds for one turn.
const FUEL: u64 = 1_000_000;

/// The one template of an environment.
const NAME: &str = "chat";

/// A checkpoint's own template.
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    /// The token that ends a text: templates may write it.
    eos: String,
}

impl ChatTemplate {
    /// `Err` is a sentence without its subject: why prompts cannot be put into what this template writes.
    pub(super) fn new(text: &str, eos: &str) -> Result<ChatTemplate, String> {
        let mut environment = Environment::new();
        // As transformers sets Jinja up.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| error.to_string())?);
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        let unreadable = |error: Error| format!("cannot be rendered: {error:#}");
        environment.add_template_owned(NAME, text.to_owned()).map_err(unreadable)?;
        let template = ChatTemplate { environment, eos: eos.to_owned() };
        for system in [None, Some("first words")] {
            let chat = template.render("a prompt", system).map_err(unreadable)?;
            let holds = |part: &str| chat.contains(part);
            if !holds(TURN_START) || !holds(TURN_END) {
                return Err(format!("is a chat of another kind: it does not write {TURN_START} and {TURN_END}"));
            }
            if !holds("a prompt") || !system.is_none_or(holds) {
                return Err("is a chat of another kind: it leaves out what was said".to_owned());
            }
        }
        Ok(template)
    }

    /// What the tokenizer is given for a prompt.
    pub(super) fn render(&self, prompt: &str, system: Option<&str>) -> Result<String, Error> {
        let turn = |role: &str, content: &str| context! { role => role, content => content };
        let messages: Vec<Value> =
            system.map(|text| turn("system", text)).into_iter().chain([turn("user", prompt)]).collect();
        let eos = self.eos.as_str();
        self.environment.get_template(NAME)?.render(context! {
            messages => messages,
            add_generation_prompt => true,
            eos_token => eos,
        })
    }
}

/// Qwen's chat, for a checkpoint without a template.
pub(super) fn of_qwen(prompt: &str, system: Option<&str>) -> String {
    let system = system.map_or(String::new(), |text| format!("{TURN_START}system\n{text}{TURN_END}\n"));
    format!("{system}{TURN_START}user\n{prompt}{TURN_END}\n{TURN_START}assistant\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A template that writes Qwen's chat, with what published ones use: whitespace control, a variable that a loop changes,
    /// methods of Python's text.
    const QWEN: &str = "
{%- set seen = namespace(turns=0) %}
{%- for message in messages %}
    {%- if message.role not in ['system', 'user'] %}
        {{- raise_exception('nobody else speaks') }}
    {%- endif %}
    {%- if message.content is string and not message.content.startswith('<tool_response>') %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
        {%- set seen.turns = seen.turns + 1 %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt and seen.turns > 0 %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
";

    #[test]
    fn a_template_of_qwen_s_chat_writes_what_we_write_without_one() {
        let template = ChatTemplate::new(QWEN, TURN_END).expect("a chat");
        for prompt in ["", "a red boat", "  two\nlines ", "{{ 7 * 7 }} {% raw %} <|im_end|> é 道 & <b>"] {
            for system in [None, Some("You draw.")] {
                assert_eq!(template.render(prompt, system).expect("a chat"), of_qwen(prompt, system), "{prompt:?}");
            }
        }
    }

    #[test]
    fn what_a_template_adds_is_in_the_chat() {
        let text = "{% if messages[0].role != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}\
                    {% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}{{ eos_token }}\n{% endfor %}";
        let template = ChatTemplate::new(text, TURN_END).expect("a chat");
        let chat = template.render("sea", None).expect("a chat");
        assert_eq!(chat, "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nsea<|im_end|>\n");
    }

    #[test]
    fn a_template_that_writes_no_such_chat_is_refused_with_the_reason() {
        let check = |text: &str, said: &str| {
            let error = ChatTemplate::new(text, TURN_END).err().expect(said);
            assert!(error.contains(said), "{error:?} does not say {said:?}");
        };
        check("[INST] {{ messages[0].content }} [/INST]", "a chat of another kind: it does not write <|im_start|>");
        check("<|im_start|>{{ messages[0].role }}<|im_end|>", "leaves out what was said");
        check("<|im_start|>{{ messages[0].content }}<|im_end|>", "leaves out what was said");
        check("{% for m in messages %}", "cannot be rendered");
        check("{{ raise_exception('no system role') }}", "no system role");
        check(
            "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
            "cannot be rendered",
        );
    }
}
