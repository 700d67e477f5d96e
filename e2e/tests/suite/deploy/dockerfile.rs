//! The stages of the `Dockerfile`, each with everything that it inherits from the stage before.

use std::collections::BTreeMap;

const TEXT: &str = include_str!("../../../../Dockerfile");

#[derive(Clone, Debug, Default)]
pub struct Stage {
    /// The image that the chain of stages begins with.
    pub image: String,
    pub user: Option<String>,
    pub env: BTreeMap<String, String>,
    pub exposed: Vec<u16>,
    /// In exec form, so that signals reach the process.
    pub entrypoint: Vec<String>,
    /// `RUN` and `COPY`, with their arguments.
    pub steps: Vec<String>,
}

/// All stages by name.
pub fn stages() -> BTreeMap<String, Stage> {
    let mut stages: BTreeMap<String, Stage> = BTreeMap::new();
    let mut current = String::new();
    for (word, rest) in instructions() {
        if word == "FROM" {
            let (base, name) = rest.split_once(" AS ").expect("every stage has a name");
            let first = || Stage { image: base.to_owned(), ..Stage::default() };
            current = name.to_owned();
            stages.insert(current.clone(), stages.get(base).cloned().unwrap_or_else(first));
            continue;
        }
        let stage = stages.get_mut(&current).expect("a stage comes first");
        match word.as_str() {
            "USER" => stage.user = Some(rest),
            "ENV" => {
                let (name, value) = rest.split_once('=').expect("ENV NAME=value, one a line");
                stage.env.insert(name.to_owned(), value.to_owned());
            }
            "EXPOSE" => stage.exposed.push(rest.parse().expect("a port")),
            "ENTRYPOINT" => stage.entrypoint = serde_json::from_str(&rest).expect("ENTRYPOINT in exec form"),
            "RUN" | "COPY" => stage.steps.push(format!("{word} {rest}")),
            "ARG" | "LABEL" | "WORKDIR" => {}
            other => panic!("{other} is not checked yet"),
        }
    }
    stages
}

/// Each instruction's word and arguments. Continued lines are joined.
fn instructions() -> Vec<(String, String)> {
    let lines: Vec<&str> = TEXT.lines().filter(|line| !line.starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let instruction = |line: &str| {
        let (word, rest) = line.split_once(' ')?;
        Some((word.to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" ")))
    };
    joined.lines().filter_map(instruction).collect()
}
