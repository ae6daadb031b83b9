// ULMFiT's gradual unfreezing without groups, in Rust alone: rustc -O gradual.rs, then
// `refreeze verify --command ./gradual --dialect gradual --strict`. One request per line, one answer per line.
use std::io::BufRead;

#[derive(PartialEq)]
enum Json { Word(String), Int(i64), Text(String), List(Vec<Json>), Object(Vec<(String, Json)>) } // Word: null, true, 1.5

fn parse(s: &[u8], i: &mut usize) -> Json { // the kit writes correct JSON, so nothing is checked here
    while b" ,:".contains(&s[*i]) { *i += 1 }
    let (open, begin) = (s[*i], *i);
    if open == b'"' {
        while s[*i + 1] != b'"' { *i += if s[*i + 1] == b'\\' { 2 } else { 1 } }
        *i += 2;
        return Json::Text(String::from_utf8_lossy(&s[begin + 1..*i - 1]).into_owned()); // escapes stay as they are
    }
    if open == b'[' || open == b'{' {
        let (mut list, mut object) = (vec![], vec![]);
        *i += 1;
        loop {
            while b" ,:".contains(&s[*i]) { *i += 1 }
            if s[*i] == open + 2 { *i += 1; break } // ] and } are two after [ and {
            let found = parse(s, i);
            match (open, found) { (b'{', Json::Text(key)) => object.push((key, parse(s, i))), (_, item) => list.push(item) }
        }
        return if open == b'[' { Json::List(list) } else { Json::Object(object) };
    }
    while *i < s.len() && !b",]} ".contains(&s[*i]) { *i += 1 }
    let word = String::from_utf8_lossy(&s[begin..*i]).into_owned();
    word.parse().map(Json::Int).unwrap_or(Json::Word(word))
}
fn get<'a>(object: &'a Json, key: &str) -> Option<&'a Json> {
    match object { Json::Object(items) => items.iter().find(|(k, _)| k == key).map(|(_, v)| v), _ => None }
}
fn respond(request: &Json) -> Result<String, &str> { // GRD-1: the last floor(e / every) + 1 layers train in epoch e
    let null = Json::Word("null".into());
    let config = get(request, "config").unwrap_or(&null);
    let says = |key, word: &str| get(request, key) == Some(&Json::Text(word.into()));
    let known = says("op", "segments") && says("dialect", "gradual");
    let others = ["groups", "learning_rate", "factor"]; // what the dialect has besides, and this program does not
    let more = others.iter().any(|key| get(config, key).is_some_and(|value| *value != null));
    if !known || more { return Ok(r#""unsupported":true"#.into()) }
    let Json::Object(items) = config else { return Err("invalid-spec") };
    if items.iter().any(|(key, _)| key != "every" && !others.contains(&key.as_str())) { return Err("invalid-spec") }
    let every = match get(config, "every") { None => 1, Some(Json::Int(n)) if *n >= 1 => *n, _ => return Err("invalid-spec") };
    let Some(Json::List(names)) = get(request, "names") else { return Err("needs-model") };
    if names.is_empty() { return Err("empty-selection") }
    let number = |key| if let Some(Json::Int(n)) = get(request, key) { *n } else { 0 };
    let quoted = |name: &Json| if let Json::Text(text) = name { format!("\"{text}\"") } else { String::new() };
    let segment = |epoch: i64| {
        let frozen: Vec<_> = names[..(names.len() as i64 - epoch / every - 1).max(0) as usize].iter().map(quoted).collect();
        format!(r#"{{"start":{epoch},"stop":{},"frozen":[{}]}}"#, epoch + 1, frozen.join(","))
    };
    Ok(format!(r#""segments":[{}]"#, (number("start")..number("total")).map(segment).collect::<Vec<_>>().join(",")))
}
fn main() {
    for request in std::io::stdin().lock().lines().map(|line| parse(line.unwrap().as_bytes(), &mut 0)) {
        let answer = respond(&request).unwrap_or_else(|id| format!(r#""error":"{id}""#));
        if let Some(Json::Text(id)) = get(&request, "id") { println!("{{\"id\":\"{id}\",{answer}}}") }
    }
}
